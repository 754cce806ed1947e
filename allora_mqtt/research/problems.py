"""What can be wrong with the data or the request of a piece of research."""

from enum import StrEnum


class Problem(StrEnum):
    """The codes of research; the command line shows them as it shows the bot's."""

    NO_FILE = "NO_FILE"
    MISSING_COLUMN = "MISSING_COLUMN"
    BAD_NUMBER = "BAD_NUMBER"
    BAD_BAR = "BAD_BAR"
    """A row whose high, low, open and close contradict one another."""
    BAD_TIME = "BAD_TIME"
    NO_TIME_ZONE = "NO_TIME_ZONE"
    UNORDERED = "UNORDERED"
    DATA_GAP = "DATA_GAP"
    EMPTY_RANGE = "EMPTY_RANGE"
    UNKNOWN_SYMBOL = "UNKNOWN_SYMBOL"
    NO_PREDICTIONS = "NO_PREDICTIONS"
    AMBIGUOUS_TOPIC = "AMBIGUOUS_TOPIC"
    CONTRADICTION = "CONTRADICTION"
    """Two rows say different things of the same moment."""
    BAD_OPTION = "BAD_OPTION"
    BAD_RESULT = "BAD_RESULT"
    """A file that is no result of this version."""
    NO_LIBRARY = "NO_LIBRARY"
    NOT_WRITABLE = "NOT_WRITABLE"


class ResearchError(Exception):
    """A piece of research that cannot be done.

    Attributes:
        code: a word for machines.
        message: what is wrong, where, and what to do next.
    """

    def __init__(self, code: Problem, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
