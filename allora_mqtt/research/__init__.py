"""The research room: past prices and predictions, tried with the functions that trade live.

Nothing here talks to an exchange or moves money. It knows the rules of trading and the simulated exchange; nobody but
the command line knows it.
"""
