from pathlib import Path

import pytest

from allora_mqtt.simulator.replay import ReplayError, ReplayPrices
from tests.unit.simulator.bench import UNIVERSE, SetPrices

BITCOIN, ETHER = UNIVERSE.assets[0], UNIVERSE.assets[1]
HEADER = "time,open,high,low,close,volume_usd\n"


def replay(path: Path, text: str) -> ReplayPrices:
    path.write_text(HEADER + text)
    return ReplayPrices(path, SetPrices({"ETH": 2_000.0}))


def test_the_recorded_coin_is_interpolated_and_the_others_are_not(tmp_path: Path) -> None:
    prices = replay(tmp_path / "btc.csv", "0,100,0,0,0,0\n3600,400,0,0,0,0\n7200,400,0,0,0,0\n")
    assert prices.price(BITCOIN, 0) == pytest.approx(100)
    assert prices.price(BITCOIN, 1_800) == pytest.approx(200)  # geometric middle
    assert prices.price(BITCOIN, 5_000) == pytest.approx(400)
    assert prices.price(BITCOIN, -9) == pytest.approx(100)
    assert prices.price(BITCOIN, 9e9) == pytest.approx(400)
    assert prices.price(ETHER, 50) == 2_000.0


def test_a_long_file_starts_with_a_day_of_history(tmp_path: Path) -> None:
    rows = "".join(f"{hour * 3600},{100 + hour},0,0,0,0\n" for hour in range(100))
    assert replay(tmp_path / "btc.csv", rows).start_s == 86_400


@pytest.mark.parametrize(
    "text", ["", "0,100,0,0,0,0\n", "0,x,0,0,0,0\n", "3,1,,,,\n2,1,,,,\n1,1,,,,\n", "0,-5,0,0,0,0\n"]
)
def test_an_unusable_file_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(ReplayError, match=r"btc\.csv"):
        replay(tmp_path / "btc.csv", text)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match="cannot read"):
        ReplayPrices(tmp_path / "none.csv", SetPrices())
