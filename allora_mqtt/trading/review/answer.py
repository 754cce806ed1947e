"""A reviewer's answer: read strictly, because anything that is not a clear yes is a no. Values in, values out."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, NoReturn

from allora_mqtt.market.wire import quoted, to_decimal

MAX_CONFIDENCE: Final = 100
MAX_RISK: Final = 10
_FENCED: Final = re.compile(r"```(?:json)?\s*(\{.*\})\s*```", re.DOTALL | re.IGNORECASE)
_ENDINGS: Final = frozenset({None, "stop"})


class Unusable(Exception):  # noqa: N818 - it names what happened
    """An answer that cannot be taken for one; the text says why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a reviewer says of an entry.

    Attributes:
        approval: whether it would make it.
        confidence: how sure it is, 0 to 100.
        risk: how dangerous it holds it for, 0 to 10.
        reasoning: its words, on one line, cut; data for people to read and nothing else.
    """

    approval: bool
    confidence: Decimal
    risk: Decimal
    reasoning: str


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What an approval must have beside the word itself; they can turn a yes into a no, never a no into a yes."""

    min_confidence: Decimal
    max_risk: Decimal

    def objection(self, answer: Answer) -> str | None:
        """Return why an answer is no approval, or None when it is one."""
        if not answer.approval:
            return "says no"
        if answer.confidence < self.min_confidence:
            return f"is only {answer.confidence} % sure, and {self.min_confidence} % are wanted"
        if answer.risk > self.max_risk:
            return f"sees a risk of {answer.risk}, and {self.max_risk} is the limit"
        return None


def read_answer(body: bytes) -> Answer:
    """Read the answer of a chat completion.

    Args:
        body: as it came.

    Raises:
        Unusable: it is anything but one complete message with one JSON object of the right fields and types.
    """
    answer = _decoded(body.decode("utf-8", errors="replace"), "the answer")
    choices = answer.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, Mapping) else None
    if not isinstance(choice, Mapping) or not isinstance(message, Mapping):
        raise Unusable("answered with no message")
    if message.get("refusal"):
        raise Unusable(f"refused to answer: {quoted(message['refusal'])}")
    ending = choice.get("finish_reason")
    if not (ending is None or isinstance(ending, str)) or ending not in _ENDINGS:
        raise Unusable(f"did not answer to the end ({quoted(ending)})")
    content = message.get("content")
    if not isinstance(content, str):
        raise Unusable("answered with no text")
    return read_content(content)


def read_content(content: str) -> Answer:
    """Read what a model wrote: a JSON object and nothing around it but a code fence.

    Raises:
        Unusable: it wrote anything else.
    """
    text = content.strip()
    fenced = _FENCED.fullmatch(text)
    found = _decoded(fenced[1] if fenced else text, "what it wrote")
    approval, reasoning = found.get("approval"), found.get("reasoning")
    if not isinstance(approval, bool):
        raise Unusable("its approval is not true or false")
    if not isinstance(reasoning, str):
        raise Unusable("its reasoning is no text")
    return Answer(
        approval,
        _number(found.get("confidence"), "confidence", MAX_CONFIDENCE),
        _number(found.get("risk"), "risk", MAX_RISK),
        quoted(reasoning),
    )


def _number(raw: object, name: str, most: int) -> Decimal:
    if isinstance(raw, str):
        raise Unusable(f"its {name} is a text and not a number")
    try:
        value = to_decimal(raw)
    except ValueError:
        raise Unusable(f"its {name} is not a number") from None
    if not 0 <= value <= most:
        raise Unusable(f"its {name} is not between 0 and {most}")
    return value


def _decoded(text: str, what: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Unusable(f"{what} is not JSON") from None
    if not isinstance(found, dict):
        raise Unusable(f"{what} is not a JSON object")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Take an object's members; one that says a thing twice may say two things."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)
