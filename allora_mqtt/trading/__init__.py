"""Signals, risk, execution and the books of positions."""
