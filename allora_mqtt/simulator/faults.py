"""Faults on demand: which request is to fail, how, how often, for how long."""

import random
import time
from collections.abc import Callable, Collection, Sequence
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, TypeAdapter, model_validator

FaultKind = Literal[
    "latency",
    "hang",
    "reset",
    "http_429",
    "http_500",
    "http_502",
    "http_503",
    "http_504",
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
HTTP_STATUSES = {"http_429": 429, "http_500": 500, "http_502": 502, "http_503": 503, "http_504": 504}
TRANSPORT_KINDS = frozenset({"latency", "hang", "reset", "malformed", "answer_lost", *HTTP_STATUSES})
_WITH_SECONDS = frozenset(
    {"latency", "hang", "reset", "answer_lost", "stale_prediction", "late_fills", "lagging_state"}
)


class FaultRule(BaseModel):
    """One rule.

    Attributes:
        path: Which door: `/v2` stands for all of Allora.
        kind: What happens. `malformed` and `answer_lost` do what was asked, then spoil the answer.
        type: Only requests of this info or action type; of Allora the topic's number.
        coin: Only requests that name this coin; of `null_mids` and `late_fills` only this coin's lines.
        seconds: How long the latency or the hang lasts, how old the stale prediction, how late the fills, how far
            behind the state; each kind has its default.
        share: The share of an order that a partial fill lets through, 0.5 unless said; 0 finds no match at all.
        probability: The share of matching requests that fail.
        count: How many requests fail before the rule has done its work.
        for_s: How long the rule is in force, in wall seconds from when it was set.
    """

    model_config = ConfigDict(extra="forbid")

    path: Literal["/exchange", "/info", "/v2"]
    kind: FaultKind
    type: str | None = None
    coin: str | None = None
    seconds: Annotated[float, Field(ge=0, le=86_400)] | None = None
    share: Annotated[float, Field(ge=0, lt=1)] | None = None
    probability: Annotated[float, Field(gt=0, le=1)] = 1.0
    count: Annotated[int, Field(ge=1)] | None = None
    for_s: Annotated[float, Field(gt=0, le=86_400)] | None = None
    _ends_s: float | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.seconds is not None and self.kind not in _WITH_SECONDS:
            raise ValueError(f"{self.kind} takes no seconds")
        if self.share is not None and self.kind != "partial_fill":
            raise ValueError("only partial_fill takes a share")
        if self.coin is not None and self.kind == "lagging_state":
            raise ValueError("an account lags as a whole: lagging_state takes no coin")
        return self

    def begin(self, now_s: float) -> None:
        """Let the time run that the rule is in force for."""
        self._ends_s = None if self.for_s is None else now_s + self.for_s

    def is_over(self, now_s: float) -> bool:
        """Whether that time has passed."""
        return self._ends_s is not None and now_s >= self._ends_s


FAULT_RULES = TypeAdapter(list[FaultRule])


class FaultBook:
    """The rules in force.

    Args:
        rng: Source of the probabilities.
        clock: Returns unix seconds.
    """

    def __init__(self, rng: random.Random, clock: Callable[[], float] = time.time) -> None:
        self._rng = rng
        self._clock = clock
        self._rules: list[FaultRule] = []

    @property
    def rules(self) -> list[FaultRule]:
        """The rules that are still in force; setting them begins their time."""
        now_s = self._clock()
        self._rules = [rule for rule in self._rules if not rule.is_over(now_s)]
        return self._rules

    @rules.setter
    def rules(self, rules: Sequence[FaultRule]) -> None:
        self._rules = []
        self.add(rules)

    def add(self, rules: Sequence[FaultRule]) -> None:
        """Put further rules in force."""
        for rule in rules:
            rule.begin(self._clock())
        self._rules = [*self._rules, *rules]

    def take(
        self, path: str, request_type: str | None, kinds: Collection[str], coins: Collection[str] | None = None
    ) -> list[FaultRule]:
        """The rules of these kinds that strike a request now; each is counted.

        Args:
            path: Of the request.
            request_type: Its info or action type, or topic.
            kinds: Only rules of these kinds.
            coins: What the request names; None where it is about all of them.
        """
        struck: list[FaultRule] = []
        for rule in list(self.rules):
            fits = path.startswith(rule.path) and rule.kind in kinds and rule.type in (None, request_type)
            fits = fits and (rule.coin is None or coins is None or rule.coin in coins)
            if not fits or self._rng.random() >= rule.probability:
                continue
            struck.append(rule)
            if rule.count is not None:
                rule.count -= 1
                if rule.count == 0:
                    self._rules.remove(rule)
        return struck
