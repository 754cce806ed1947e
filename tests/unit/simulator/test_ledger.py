from decimal import Decimal

import pytest

from allora_mqtt.simulator.ledger import direction
from tests.unit.simulator.bench import ETH, Bench, limit, market_order


@pytest.mark.parametrize(
    ("start", "signed", "words"),
    [
        ("0", "1", "Open Long"),
        ("0", "-1", "Open Short"),
        ("1", "2", "Open Long"),
        ("-1", "-2", "Open Short"),
        ("3", "-1", "Close Long"),
        ("3", "-3", "Close Long"),
        ("-3", "2", "Close Short"),
        ("1", "-2", "Long > Short"),
        ("-1", "2", "Short > Long"),
    ],
)
def test_directions(start: str, signed: str, words: str) -> None:
    assert direction(Decimal(start), Decimal(signed)) == words


def test_entries_average_closes_realise_and_fees_are_paid(bench: Bench) -> None:
    bench.place(market_order(ETH, "1"))
    bench.go(ETH=2_200.0)
    bench.place(market_order(ETH, "1"))
    position = bench.account.positions[ETH]
    assert position.entry_px == (Decimal("2000.2") + Decimal("2200.3")) / 2
    bench.place(market_order(ETH, "-0.5"))
    line = bench.account.fills[-1]
    assert Decimal(line["closedPnl"]) == (Decimal("2199.7") - position.entry_px) * Decimal("0.5")
    assert Decimal(line["fee"]) == (Decimal("2199.7") * Decimal("0.5") * Decimal("0.00045")).quantize(Decimal("1e-6"))
    assert (line["dir"], line["startPosition"], line["side"]) == ("Close Long", "2.0", "A")


def test_a_flip_realises_the_old_position_and_opens_the_new_one_at_its_price(bench: Bench) -> None:
    bench.place(market_order(ETH, "1"))
    bench.place(market_order(ETH, "-3"))
    position = bench.account.positions[ETH]
    assert (position.szi, position.entry_px) == (Decimal(-2), Decimal("1999.8"))
    assert Decimal(bench.account.fills[-1]["closedPnl"]) == Decimal("-0.4")


def test_a_resting_order_fills_as_the_maker_at_its_own_price(bench: Bench) -> None:
    bench.place(limit(ETH, "1", "1990"))
    assert not bench.go()
    assert bench.go(ETH=1_980.0)
    line = bench.account.fills[-1]
    assert (line["px"], line["crossed"]) == ("1990.0", False)
    assert Decimal(line["fee"]) == Decimal(1990) * Decimal("0.00015")
