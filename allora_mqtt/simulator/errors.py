"""What the exchange says when it refuses a whole action."""


class ActionError(Exception):
    """The whole action is refused; the message is the exchange's answer."""
