"""What `doctor` looks at beside MQTT: this machine, the exchange and Allora, each check on its own."""
