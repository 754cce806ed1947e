"""The wire: MQTT, the embedded broker."""
