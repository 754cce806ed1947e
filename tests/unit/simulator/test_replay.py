from pathlib import Path

import pytest

from allora_mqtt.simulator.replay import ReplayError, ReplayPrices
from allora_mqtt.simulator.server import SimulatorError, SimulatorOptions, build_world
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


def test_a_column_of_coins_replays_several(tmp_path: Path) -> None:
    path = tmp_path / "both.csv"
    rows = [f"{hour * 3600},{coin},{px + hour}" for hour in range(5) for coin, px in (("BTC", 100), ("ETH", 10))]
    path.write_text("\n".join(["time,coin,open", *rows]))
    prices = ReplayPrices(path, SetPrices({"SOL": 5.0}))
    assert prices.coins == {"BTC", "ETH"}
    assert [prices.price(asset, 7_200) for asset in (BITCOIN, ETHER, UNIVERSE.assets[5])] == [
        pytest.approx(102),
        pytest.approx(12),
        5.0,
    ]
    assert prices.sigma(ETHER, 3_600) > prices.sigma(BITCOIN, 3_600) > 0


def test_the_run_begins_where_every_coin_is_on_record(tmp_path: Path) -> None:
    path = tmp_path / "both.csv"
    rows = [f"{hour * 3600},BTC,1" for hour in range(100)] + [f"{hour * 3600},ETH,1" for hour in range(10, 90)]
    path.write_text("\n".join(["time,coin,open", *rows]))
    assert ReplayPrices(path, SetPrices()).start_s == 10 * 3_600 + 86_400


def test_a_coin_that_is_not_listed_is_named(tmp_path: Path) -> None:
    path = tmp_path / "odd.csv"
    path.write_text("time,coin,open\n" + "".join(f"{hour},NOPE,1\n" for hour in range(3)))
    with pytest.raises(SimulatorError, match="NOPE"):
        build_world(SimulatorOptions(prices=f"replay:{path}"), lambda: 0.0)


def test_the_example_can_be_replayed() -> None:
    path = Path(__file__).parents[3] / "examples" / "data" / "btc_eth_hourly.csv"
    world = build_world(SimulatorOptions(prices=f"replay:{path}"), lambda: 0.0)
    marks = [world.market.mark_at(asset, 3_600.0 * hour) for asset in (BITCOIN, ETHER) for hour in range(48)]
    assert len(set(marks)) > 90
