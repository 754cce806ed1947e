"""The journal of commands and the ledger of everything the bot did."""
