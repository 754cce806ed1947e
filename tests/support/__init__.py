"""Real things for tests to stand on: brokers, the bot as a process, clients."""
