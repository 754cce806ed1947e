"""Faults on demand: which request is to fail, how, how often."""

import random
from collections.abc import Collection
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

FaultKind = Literal[
    "latency",
    "hang",
    "reset",
    "http_429",
    "http_500",
    "http_503",
    "malformed",
    "answer_lost",
    "stale_prediction",
    "nan_prediction",
    "absurd_prediction",
    "null_mids",
    "partial_fill",
    "late_fills",
    "lagging_state",
]
HTTP_STATUSES = {"http_429": 429, "http_500": 500, "http_503": 503}
TRANSPORT_KINDS = frozenset({"latency", "hang", "reset", "malformed", "answer_lost", *HTTP_STATUSES})


class FaultRule(BaseModel):
    """One rule.

    Attributes:
        path: Which door: `/v2` stands for all of Allora.
        kind: What happens. `malformed` and `answer_lost` do what was asked, then spoil the answer.
        type: Only requests of this info or action type.
        seconds: How long the latency or the hang lasts, how old the stale prediction, how late the fills, how far
            behind the state; each kind has its default.
        probability: The share of matching requests that fail.
        count: How many requests fail before the rule has done its work.
    """

    model_config = ConfigDict(extra="forbid")

    path: Literal["/exchange", "/info", "/v2"]
    kind: FaultKind
    type: str | None = None
    seconds: Annotated[float, Field(ge=0, le=86_400)] | None = None
    probability: Annotated[float, Field(gt=0, le=1)] = 1.0
    count: Annotated[int, Field(ge=1)] | None = None


FAULT_RULES = TypeAdapter(list[FaultRule])


class FaultBook:
    """The rules in force.

    Args:
        rng: Source of the probabilities.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.rules: list[FaultRule] = []

    def take(self, path: str, request_type: str | None, kinds: Collection[str]) -> list[FaultRule]:
        """The rules of these kinds that strike a request now; each is counted."""
        struck: list[FaultRule] = []
        for rule in list(self.rules):
            fits = path.startswith(rule.path) and rule.kind in kinds and rule.type in (None, request_type)
            if not fits or self._rng.random() >= rule.probability:
                continue
            struck.append(rule)
            if rule.count is not None:
                rule.count -= 1
                if rule.count == 0:
                    self.rules.remove(rule)
        return struck
