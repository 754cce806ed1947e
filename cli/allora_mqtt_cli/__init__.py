"""The command line: an MQTT client of the contract like any other."""
