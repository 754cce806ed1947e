"""`allora-mqtt panel`: one screen to see the bot and to steer it, in a terminal or in a browser."""
