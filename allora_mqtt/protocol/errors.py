"""The error codes of the contract, and the exceptions that carry them."""

from enum import StrEnum


class ErrorCode(StrEnum):
    """Every code a response, an event or a health entry can carry."""

    BAD_JSON = "BAD_JSON"
    BAD_VALUE = "BAD_VALUE"
    TOO_LARGE = "TOO_LARGE"
    UNKNOWN_SYMBOL = "UNKNOWN_SYMBOL"
    NOT_TRADABLE = "NOT_TRADABLE"
    NO_TOPIC = "NO_TOPIC"
    TOPIC_MISMATCH = "TOPIC_MISMATCH"
    UNKNOWN_KEY = "UNKNOWN_KEY"
    OUT_OF_RANGE = "OUT_OF_RANGE"
    RETAINED_ACTION = "RETAINED_ACTION"
    STALE_ACTIVATION = "STALE_ACTIVATION"
    AMBIGUOUS_ORDER = "AMBIGUOUS_ORDER"
    EXPIRED = "EXPIRED"
    SUPERSEDED = "SUPERSEDED"
    """A newer command for the same thing came before this one ran."""
    DUPLICATE_INSTANCE = "DUPLICATE_INSTANCE"
    BREAKER_OPEN = "BREAKER_OPEN"
    UNSUPPORTED_ACTION = "UNSUPPORTED_ACTION"
    EXCHANGE_REJECTED = "EXCHANGE_REJECTED"
    EXCHANGE_UNREACHABLE = "EXCHANGE_UNREACHABLE"
    NOT_ALLOWED = "NOT_ALLOWED"
    INTERNAL = "INTERNAL"
    OVERLOADED = "OVERLOADED"
    """More commands are waiting than the bot holds; this one was journaled and not tried."""
    INTERRUPTED = "INTERRUPTED"
    """The bot died while it ran this action; whether it took effect is told in the message."""
    NO_POSITION = "NO_POSITION"
    PREDICTION_UNAVAILABLE = "PREDICTION_UNAVAILABLE"
    STORE_UNAVAILABLE = "STORE_UNAVAILABLE"
    USE_SET_TOPIC = "USE_SET_TOPIC"
    """Somebody published to a state topic; commands go to the topic that ends in `/set`."""
    NOT_SIGNED = "NOT_SIGNED"
    """The bot takes signed commands only (`MQTT_COMMAND_SECRET`), and this one is not."""
    BAD_SIGNATURE = "BAD_SIGNATURE"
    """Signed by nobody the bot knows, for another topic, or changed since."""
    STALE_SIGNATURE = "STALE_SIGNATURE"
    """Signed too long ago to be told from a replay."""


class WarningCode(StrEnum):
    """Things a response or the status points out although the command was executed."""

    NO_CRYPTOS = "NO_CRYPTOS"
    SYMBOL_SKIPPED = "SYMBOL_SKIPPED"
    HAS_POSITION = "HAS_POSITION"
    FOREIGN_POSITION = "FOREIGN_POSITION"
    ADOPTED_POSITION = "ADOPTED_POSITION"
    """Somebody else opened it, and the bot has made it its own."""
    DUPLICATE_INSTANCE = "DUPLICATE_INSTANCE"
    CASH_FLOW_UNKNOWN = "CASH_FLOW_UNKNOWN"
    """The exchange's ledger has something that the bot cannot tell from profit or loss."""
    WRONG_CLOCK = "WRONG_CLOCK"
    KEY_UNUSABLE = "KEY_UNUSABLE"
    """The key may not trade for the account: unknown, expired, or somebody else's."""
    KEY_EXPIRES = "KEY_EXPIRES"
    MASTER_KEY = "MASTER_KEY"
    """The key is the account's own and can withdraw, where an agent's would do."""


def excerpt(written: object, longest: int = 80) -> str:
    """Return what a stranger wrote as a sentence can show it: in quotes, printable, cut when it is long."""
    text = str(written)
    shown = repr(text[:longest])
    return shown if len(shown) <= longest and len(text) <= longest else f"{shown[: longest - 1]}…"


class BotError(Exception):
    """Something went wrong, with a code for machines and one sentence for people.

    Attributes:
        code: which of the contract's codes applies.
        message: what happened, in what, and what to do next.
    """

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class Rejected(BotError):  # noqa: N818 - it names the response's status
    """A command that was not tried: the sender has to change something."""


class Failed(BotError):  # noqa: N818 - it names the response's status
    """A command that was tried and did not succeed: the message says what happened."""
