import math
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from allora_mqtt.protocol.messages import Direction
from allora_mqtt.trading.gates import gate_refusal
from allora_mqtt.trading.skill import Skill
from tests.unit.trading.things import samples, situation

WELL_KNOWN = Skill(50, 30)
CALM = samples(*(2000 * math.exp(0.0002 * (number % 2)) for number in range(25)))
"""0.1 % over the window."""


def refusal(
    direction: Direction = Direction.BUY,
    skill: Skill = WELL_KNOWN,
    *,
    mark: str = "2000",
    band: Any = (("1990", "2030"), ("1950", "2070")),
    history: Any = CALM,
    funding: str | None = "0.0001",
    **changes: Any,
) -> str | None:
    seen = situation(mark, "2010", history, **changes)
    inner, outer = (None if each is None else (Decimal(each[0]), Decimal(each[1])) for each in band)
    prediction = replace(seen.prediction, interval_68=inner, interval_95=outer)
    quote = replace(seen.quote, funding_rate=None if funding is None else Decimal(funding))
    return gate_refusal(replace(seen, prediction=prediction, quote=quote), direction, skill)


def test_every_gate_is_off_by_default_whatever_is_missing() -> None:
    assert refusal(skill=Skill(0, 0), band=(None, None), history=(), funding=None) is None


@pytest.mark.parametrize(
    ("mark", "least", "why"),
    [
        ("1990", 68, "inside the network's 68 % interval"),
        ("2030", 1, "inside the network's 68 % interval"),
        ("1989.99", 68, None),
        ("2030.01", 68, None),
        ("1989.99", 69, "inside the network's 95 % interval"),
        ("1949.99", 95, None),
        ("2070.01", 95, None),
    ],
)
def test_the_mark_must_lie_outside_what_the_network_holds_for_likely(mark: str, least: int, why: str | None) -> None:
    found = refusal(mark=mark, min_confidence_band_pct=least)
    assert found is None if why is None else why in (found or "")


@pytest.mark.parametrize("least", [68, 95])
def test_without_the_interval_that_is_wanted_there_is_no_entry(least: int) -> None:
    band = (None, ("1", "2")) if least == 68 else (("1", "2"), None)
    assert f"the network gave no {least} % interval" in (refusal(band=band, min_confidence_band_pct=least) or "")


def test_the_volatility_must_lie_in_its_window() -> None:
    assert refusal(min_volatility_pct="0.09", max_volatility_pct="0.11") is None
    assert "is 0.100 %, and 0.2 % is wanted" in (refusal(min_volatility_pct="0.2") or "")
    assert "is 0.100 %, and 0.05 % is the limit" in (refusal(max_volatility_pct="0.05") or "")


@pytest.mark.parametrize("changes", [{"min_volatility_pct": "0.1"}, {"max_volatility_pct": "5"}])
def test_without_enough_samples_of_the_price_there_is_no_entry(changes: dict[str, Any]) -> None:
    found = refusal(history=CALM[1:], **changes)
    assert next(iter(changes)) in (found or "")
    assert "too few samples" in (found or "")


def test_a_topic_must_have_been_right_often_enough() -> None:
    assert refusal(min_skill_pct=60) is None
    found = refusal(min_skill_pct="60.1")
    assert "foresaw the direction of 60.0 % of its last 50 predictions, and 60.1 % are wanted" in (found or "")


@pytest.mark.parametrize("skill", [Skill(49, 49), Skill(0, 0)])
def test_a_topic_of_which_too_little_is_known_is_not_traded_on(skill: Skill) -> None:
    found = refusal(skill=skill, min_skill_pct=1)
    assert f"{skill.samples} predictions of topic 9 are resolved, and 50 are wanted" in (found or "")


@pytest.mark.parametrize(
    ("direction", "funding", "most", "refused"),
    [
        (Direction.BUY, "0.0001", "0.08", False),
        (Direction.BUY, "0.000101", "0.08", True),
        (Direction.SELL, "0.0001", "0", False),
        (Direction.SELL, "-0.0001", "0", True),
        (Direction.SELL, "-0.0001", "0.08", False),
        (Direction.BUY, "-0.5", "0", False),
    ],
)
def test_only_who_pays_funding_is_kept_out(direction: Direction, funding: str, most: str, *, refused: bool) -> None:
    found = refusal(direction, funding=funding, max_funding_pct=most)
    assert (found is not None) is refused
    assert not refused or "per 8 h" in (found or "")


def test_an_unknown_funding_rate_is_no_zero() -> None:
    assert refusal(funding=None, max_funding_pct="1") == "gate max_funding_pct: the funding rate is not known"
