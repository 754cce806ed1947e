"""`allora-mqtt demo`: a tour of a bot that really runs, on a simulated exchange, and leaves nothing behind."""
