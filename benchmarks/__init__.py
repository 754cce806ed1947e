"""How fast the bot is, beside what it could be at best and beside its peers, in one run on one machine."""
