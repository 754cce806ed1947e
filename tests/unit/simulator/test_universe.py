from decimal import Decimal

from tests.unit.simulator.bench import UNIVERSE


def test_all_assets_are_there_in_order_and_delisted_ones_keep_their_number() -> None:
    assert len(UNIVERSE.assets) == 229
    assert sum(asset.is_delisted for asset in UNIVERSE.assets) == 39
    assert [UNIVERSE.assets[index].name for index in (0, 1, 3, 5)] == ["BTC", "ETH", "MATIC", "SOL"]
    assert UNIVERSE.assets[3].is_delisted


def test_an_asset_carries_its_tiers_and_an_unlisted_table_is_one_tier() -> None:
    bitcoin, atom = UNIVERSE.assets[0], UNIVERSE.assets[2]
    assert [(tier.lower_bound_usd, tier.max_leverage) for tier in bitcoin.margin_tiers] == [
        (Decimal(0), 40),
        (Decimal(150_000_000), 20),
    ]
    assert [tier.max_leverage for tier in atom.margin_tiers] == [5]


def test_names_and_numbers_outside_the_universe_are_unknown() -> None:
    assert UNIVERSE.by_name("NOPE") is None
    assert UNIVERSE.by_index(229) is None
    assert UNIVERSE.by_index(-1) is None


def test_meta_has_the_exchange_s_fields_only() -> None:
    entry = UNIVERSE.meta()["universe"][0]
    assert entry == {"name": "BTC", "szDecimals": 5, "maxLeverage": 40, "marginTableId": 56}
