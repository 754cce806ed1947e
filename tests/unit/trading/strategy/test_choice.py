import asyncio
from collections.abc import Callable
from importlib.metadata import EntryPoint
from typing import Any, cast

import pytest

from allora_mqtt.protocol.messages import Direction
from allora_mqtt.trading.strategy import BUILT_IN, GROUP, Situation, Strategy, Verdict, installed, judge
from tests.unit.trading.things import situation

HERE = __name__
NOT_A_FUNCTION = 5


def always_buy(situation: Situation) -> Verdict:
    del situation
    return Verdict(Direction.BUY, ("because",))


def broken_at_import() -> EntryPoint:
    return EntryPoint("broken", "tests.unit.trading.strategy.no_such_module:rule", GROUP)


def offer(name: str, what: str = "always_buy") -> EntryPoint:
    return EntryPoint(name, f"{HERE}:{what}", GROUP)


def opinion_of(strategy: Callable[[Situation], Any]) -> Any:
    return judge(situation(strategy="other"), {**BUILT_IN, "other": cast("Strategy", strategy)})


def test_both_strategies_are_built_in_and_one_that_is_installed_is_there_too() -> None:
    strategies, problems = installed([offer("mine")])
    assert set(strategies) == {"allora_gap", "volatility", "mine"}
    assert problems == ()
    assert judge(situation(strategy="mine"), strategies).direction is Direction.BUY


@pytest.mark.parametrize(
    ("offers", "why"),
    [
        ([offer("allora_gap")], "the name of a built-in one"),
        ([offer("Mine")], "a name that no setting can take"),
        ([offer("mine"), offer("mine", "other")], "offered more than once"),
        ([broken_at_import()], "cannot be loaded"),
        ([offer("mine", "no_such_thing")], "cannot be loaded"),
        ([offer("mine", "NOT_A_FUNCTION")], "not a function"),
    ],
)
def test_an_offer_that_cannot_be_used_is_named_and_takes_nothing_away(offers: list[EntryPoint], why: str) -> None:
    strategies, problems = installed(offers)
    assert dict(strategies) == dict(BUILT_IN)
    assert len(problems) == len(offers)
    assert all(why in problem and "not used" in problem for problem in problems)


def test_a_strategy_that_does_not_exist_holds_and_says_so() -> None:
    opinion = judge(situation("2000", "3000", strategy="magic"))
    assert opinion.direction is Direction.HOLD
    assert opinion.reasons == ("there is no strategy 'magic'",)


class Unspeakable(Exception):  # noqa: N818 - as somebody else may name it
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    "error", [ValueError("oh"), SystemExit(3), asyncio.CancelledError(), RecursionError(), Unspeakable()]
)
def test_a_strategy_that_fails_holds_and_says_how(error: BaseException) -> None:
    def fail(_situation: Situation) -> Verdict:
        raise error

    opinion = opinion_of(fail)
    assert opinion.direction is Direction.HOLD
    assert type(error).__name__ in opinion.reasons[0]
    assert opinion.reasons[0].startswith("the strategy other failed: ")
    assert opinion.fault is error


@pytest.mark.parametrize(
    "answer",
    [
        None,
        Direction.BUY,
        "BUY",
        Verdict(cast("Direction", "BUY"), ("text",)),
        Verdict(Direction.BUY, cast("tuple[str, ...]", "text")),
        Verdict(Direction.BUY, cast("tuple[str, ...]", (1,))),
    ],
)
def test_what_is_no_verdict_holds(answer: object) -> None:
    opinion = opinion_of(lambda _situation: answer)
    assert opinion.direction is Direction.HOLD
    assert "TypeError" in opinion.reasons[0]


def test_the_words_of_a_strategy_are_cut_and_printable() -> None:
    words = ("\x1b[31m" + "x" * 5000, *("again" for _ in range(100)))
    opinion = opinion_of(lambda _situation: Verdict(Direction.SELL, words))
    assert opinion.direction is Direction.SELL
    assert len(opinion.reasons) == 10
    assert all(reason.isprintable() and len(reason) <= 200 for reason in opinion.reasons)


def test_a_situation_cannot_be_changed_by_who_sees_it() -> None:
    def meddle(seen: Situation) -> Verdict:
        seen.settings.__dict__["x"] = 1
        seen.now = 5  # type: ignore[misc] # which is refused
        return Verdict(Direction.BUY, ())

    assert opinion_of(meddle).direction is Direction.HOLD
