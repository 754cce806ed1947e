"""The earlier bot: what its users bring along, read and never written to."""
