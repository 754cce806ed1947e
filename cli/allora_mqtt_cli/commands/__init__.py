"""The commands, grouped by what they are for. Each registers itself on the application it is given."""
