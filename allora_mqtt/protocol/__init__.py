"""The MQTT contract: topics, commands, messages and errors. No I/O."""
