"""The error codes of the contract, and the exceptions that carry them."""

from enum import StrEnum


class ErrorCode(StrEnum):
    """Every code a response, an event or a health entry can carry."""

    BAD_JSON = "BAD_JSON"
    """The payload is neither a bare word nor valid JSON."""
    BAD_VALUE = "BAD_VALUE"
    """The payload can be read, and what it says cannot be done."""
    TOO_LARGE = "TOO_LARGE"
    """The payload is longer than the bot reads."""
    UNKNOWN_SYMBOL = "UNKNOWN_SYMBOL"
    """Neither HyperLiquid nor Allora knows this coin."""
    NOT_TRADABLE = "NOT_TRADABLE"
    """HyperLiquid does not trade this coin, or no longer."""
    NO_TOPIC = "NO_TOPIC"
    """Allora has no usable prediction for this coin."""
    TOPIC_MISMATCH = "TOPIC_MISMATCH"
    """The topic that was named predicts something else."""
    UNKNOWN_KEY = "UNKNOWN_KEY"
    """There is no runtime setting of this name."""
    OUT_OF_RANGE = "OUT_OF_RANGE"
    """The value is outside its range, or crosses a hard limit."""
    RETAINED_ACTION = "RETAINED_ACTION"
    """An action came with the retain flag; it would be done again at each connect."""
    STALE_ACTIVATION = "STALE_ACTIVATION"
    """An ACTIVE that waited is not run, because of `BOT_WAITING_ACTIVATION`."""
    AMBIGUOUS_ORDER = "AMBIGUOUS_ORDER"
    """Two commands waited, and nothing tells which came last; the less risky one has run."""
    EXPIRED = "EXPIRED"
    """The command came later than it was to run."""
    SUPERSEDED = "SUPERSEDED"
    """A newer command for the same thing came before this one ran."""
    DUPLICATE_INSTANCE = "DUPLICATE_INSTANCE"
    """Another bot is on this base topic; ACTIVE is refused."""
    BREAKER_OPEN = "BREAKER_OPEN"
    """A limit on losses was reached; ACTIVE is refused until it is reset."""
    UNSUPPORTED_ACTION = "UNSUPPORTED_ACTION"
    """There is no action of this name."""
    EXCHANGE_REJECTED = "EXCHANGE_REJECTED"
    """HyperLiquid answered, and refused."""
    EXCHANGE_UNREACHABLE = "EXCHANGE_UNREACHABLE"
    """HyperLiquid did not answer in time, or not in a way that can be used."""
    NOT_ALLOWED = "NOT_ALLOWED"
    """This is not done in the present state; the message says what is in the way."""
    INTERNAL = "INTERNAL"
    """A fault in the bot; its log has the details."""
    OVERLOADED = "OVERLOADED"
    """More commands are waiting than the bot holds; this one was journaled and not tried."""
    INTERRUPTED = "INTERRUPTED"
    """The bot died while it ran this action; whether it took effect is told in the message."""
    NO_POSITION = "NO_POSITION"
    """There is nothing to close."""
    PREDICTION_UNAVAILABLE = "PREDICTION_UNAVAILABLE"
    """Allora gave no prediction that can be used."""
    STORE_UNAVAILABLE = "STORE_UNAVAILABLE"
    """The database could not be written, and nothing is done that cannot be written down."""
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
    """The mode is ACTIVE and no coin is active, so nothing is traded."""
    SYMBOL_SKIPPED = "SYMBOL_SKIPPED"
    """One of several coins could not be activated."""
    HAS_POSITION = "HAS_POSITION"
    """A coin that was switched off still has a position, which is managed to its end."""
    FOREIGN_POSITION = "FOREIGN_POSITION"
    """The account has positions that the bot did not open; it leaves them alone."""
    ADOPTED_POSITION = "ADOPTED_POSITION"
    """Somebody else opened it, and the bot has made it its own."""
    DUPLICATE_INSTANCE = "DUPLICATE_INSTANCE"
    """Another bot is on this base topic; at least one of them makes no entries."""
    CASH_FLOW_UNKNOWN = "CASH_FLOW_UNKNOWN"
    """The exchange's ledger has something that the bot cannot tell from profit or loss."""
    WRONG_CLOCK = "WRONG_CLOCK"
    """The machine's clock is more than 5 s off the exchange's; no entries until it is right."""
    KEY_UNUSABLE = "KEY_UNUSABLE"
    """The key may not trade for the account: unknown, expired, or somebody else's."""
    KEY_EXPIRES = "KEY_EXPIRES"
    """The agent wallet's approval ends within 14 days."""
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
