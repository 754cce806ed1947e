from decimal import Decimal

import pytest

from allora_mqtt.protocol.commands import Mode, SearchCatalog, SetCrypto, SetMode, Switch
from allora_mqtt.protocol.messages import Position
from allora_mqtt_cli.commands.cryptos import Where
from allora_mqtt_cli.errors import CliError, ExitCode
from allora_mqtt_cli.panel import drawing
from allora_mqtt_cli.panel.coins import matching
from tests.integration.test_cli_commands import NOW, POSITION, STATUS
from tests.unit.cli.panel.things import INTERVAL_S, Told, match


@pytest.fixture
def told() -> Told:
    told = Told()
    told.bot()
    return told


@pytest.mark.parametrize("width", [78, 158, 198])
def test_the_head_fits_and_the_light_is_at_its_end(told: Told, width: int) -> None:
    lines = drawing.head(told.state, 2, width).plain.splitlines()
    assert len(lines) == 2
    assert max(len(line) for line in lines) <= width
    assert lines[0].startswith("STANDBY   sim   equity $512.50   day -$3.25 -0.63 %")
    assert lines[0].endswith("● 2 s ago")


def test_the_light_goes_red(told: Told) -> None:
    now = 2.5 * INTERVAL_S
    assert drawing.pulse(told.state, now).style == "green"
    assert drawing.pulse(told.state, now + 0.1).style == "bold red"
    assert "No heartbeat for 13 s" in str(drawing.banner(told.state, now + 0.1))
    told.publish("availability", "offline")
    assert (drawing.pulse(told.state, 0).plain, drawing.pulse(told.state, 0).style) == ("● offline", "bold red")


def test_the_banner_says_the_worst(told: Told) -> None:
    assert drawing.banner(told.state, 0) is None
    breaker = {"name": "allora", "reason": "5 failures", "since": NOW}
    warning = {"code": "NO_CRYPTOS", "message": "Nothing to trade."}
    told.publish("status", {**STATUS, "breakers": [breaker], "warnings": [warning]})
    assert str(drawing.banner(told.state, 0)) == "Breaker allora is open: 5 failures\nNothing to trade. (NO_CRYPTOS)"
    told.publish("availability", "offline")
    assert str(drawing.banner(told.state, 0)).startswith("The bot is offline.")
    told.state.lost(CliError(ExitCode.NO_ANSWER, "X", "The broker is gone."))
    assert str(drawing.banner(told.state, 0)) == "The broker is gone."
    assert drawing.pulse(told.state, 0).plain == "● no broker"


def test_without_a_bot_it_says_so() -> None:
    assert "No bot has been seen on the base topic bot" in str(drawing.banner(Told().state, 0))


def test_what_was_asked_for_stands_beside_what_is(told: Told) -> None:
    told.send("a", SetCrypto(symbol="BTC", value=Switch.OFF))
    told.send("b", SetMode(value=Mode.ACTIVE))
    rows = {coin.symbol: drawing.coin_row(coin, is_wide=False)[1] for coin in told.state.coins}
    assert (rows["BTC"][0].plain, rows["ETH"][0].plain) == ("●→○", "○")
    assert drawing.head(told.state, 0, 120).plain.startswith("STANDBY → ACTIVE")


def test_a_row_has_a_cell_for_each_column(told: Told) -> None:
    for coin in told.state.coins:
        assert len(drawing.coin_row(coin, is_wide=False)[1]) == len(drawing.COIN_COLUMNS)
        wide = len(drawing.COIN_COLUMNS + drawing.MORE_COIN_COLUMNS)
        assert len(drawing.coin_row(coin, is_wide=True)[1]) == wide


def test_a_position_of_the_bots_without_a_stop_stands_out() -> None:
    position = Position.model_validate(POSITION)
    key, cells = drawing.position_row(position.model_copy(update={"stop_price": None}))
    assert (key, cells[6].plain, cells[6].style) == ("ETH", "none", "bold red")
    assert drawing.position_row(position)[1][6].plain == "3,030.00"
    assert drawing.position_row(position.model_copy(update={"ours": False}))[1][0].plain == "ETH *"


@pytest.mark.parametrize(
    ("value", "shown"),
    [("2100000000", "$2.1B"), ("891000000", "$891M"), ("8800000", "$8.8M"), ("790000", "$790K"), ("12", "$12")],
)
def test_large_amounts_are_short(value: str, shown: str) -> None:
    assert drawing.short_usd(Decimal(value)).plain == shown


def test_search_and_filter(told: Told) -> None:
    rows = [match("SOL"), match("kPEPE", availability="hyperliquid", topics=[]), match("PEPPER", availability="allora")]
    told.send("q", SearchCatalog())
    told.respond("catalog", "q", data={"cryptos": rows})

    def found(search: str, platform: Where) -> list[str]:
        return [coin.symbol for coin in matching(told.state.coins, search, platform)]

    # Of BTC and ETH the catalog says nothing here, and they are never hidden for that.
    assert found("", Where.BOTH) == ["BTC", "ETH", "SOL"]
    assert found(" pep", Where.ALL) == ["PEPPER", "kPEPE"]
    assert found("pep", Where.HYPERLIQUID) == ["kPEPE"]
    assert found("pep", Where.ALLORA) == ["PEPPER"]
