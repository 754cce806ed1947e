"""How a check ends."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How one thing was found."""

    GOOD = "ok"
    ODD = "warning"
    BAD = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: its name.
        said: how it was found.
        remedy: what to do about it, unless it is good.
    """

    what: str
    verdict: Verdict
    said: str
    remedy: str = ""
