"""What Home Assistant is told of the bot: one device message, made of values. No I/O.

The form is that of https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload, in its short keys. At the
top level only keys that every version since 2024.11 takes: an unknown one there rejects the whole message.
"""
