"""Programs that are measured beside the bot; they run in environments of their own, and import nothing of it."""
