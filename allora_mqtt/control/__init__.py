"""Commands: from bytes to a journaled, executed and answered command."""
