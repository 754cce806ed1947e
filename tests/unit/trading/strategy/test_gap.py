from decimal import Decimal

import pytest

from allora_mqtt.protocol.messages import Direction
from allora_mqtt.trading.strategy import gap_pct, judge, round_gap
from tests.unit.trading.things import situation


@pytest.mark.parametrize(
    ("predicted", "direction"),
    [
        ("2010.00", Direction.BUY),
        ("2009.99", Direction.HOLD),
        ("2010.01", Direction.BUY),
        ("2000.00", Direction.HOLD),
        ("1990.01", Direction.HOLD),
        ("1990.00", Direction.SELL),
        ("1989.99", Direction.SELL),
    ],
)
def test_a_gap_of_exactly_the_threshold_is_enough_and_a_cent_less_is_not(predicted: str, direction: Direction) -> None:
    assert judge(situation("2000", predicted, price_gap_pct="0.5")).direction is direction


def test_the_gap_is_measured_from_the_mark_and_not_from_the_prediction() -> None:
    assert gap_pct(Decimal(110), Decimal(100)) == 10
    assert gap_pct(Decimal(100), Decimal(110)) == Decimal(-10) / 110 * 100


def test_an_opinion_says_gap_and_threshold() -> None:
    opinion = judge(situation("2000", "2020", price_gap_pct="0.5"))
    assert opinion.gap_pct == 1
    assert opinion.reasons == ("gap +1.000 % against a threshold of 0.5 %",)


def test_a_gap_of_any_number_of_digits_can_be_published() -> None:
    absurd = gap_pct(Decimal("9e20"), Decimal("0.000154"))
    assert round_gap(absurd) == pytest.approx(absurd)
    assert round_gap(Decimal("1.23456")) == Decimal("1.2346")
