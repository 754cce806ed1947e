from typing import Any

import pytest

from allora_mqtt.protocol.commands import (
    ActivateSet,
    Close,
    Flatten,
    History,
    Mode,
    Performance,
    SearchCatalog,
    SetCrypto,
    SetCryptos,
    SetMode,
    Switch,
)
from allora_mqtt.protocol.model import rfc3339
from allora_mqtt_cli.errors import CliError, ExitCode
from allora_mqtt_cli.panel import asking
from allora_mqtt_cli.panel.history import shown
from tests.integration.test_cli_commands import COIN, NOW, STATUS
from tests.unit.cli.panel.things import ACCOUNT, TIMEOUT_S, Told, match, said

GONE = CliError(ExitCode.NO_ANSWER, "CONNECTION_LOST", "The broker closed the connection.")


@pytest.fixture
def told() -> Told:
    told = Told()
    told.bot()
    return told


def coin(told: Told, symbol: str) -> Any:
    return next(coin for coin in told.state.coins if coin.symbol == symbol)


def test_a_switch_shows_what_the_bot_confirmed_and_beside_it_what_was_asked(told: Told) -> None:
    told.send("a", SetCrypto(symbol="BTC", value=Switch.OFF))
    assert (coin(told, "BTC").is_active, coin(told, "BTC").wanted) == (True, Switch.OFF)
    told.publish("cryptos", {})
    told.respond("cryptos", "a")
    assert (coin(told, "BTC").is_active, coin(told, "BTC").wanted) == (False, None)


def test_a_refused_switch_stays_where_it_was(told: Told) -> None:
    told.send("a", SetCrypto(symbol="ETH", value=Switch.ON))
    error = {"code": "NO_TOPIC", "message": "Allora has no usable topic for ETH."}
    reaction = told.respond("cryptos", "a", "REJECTED", error=error)
    assert said(reaction) == [("error", "ETH ON", "Allora has no usable topic for ETH. (NO_TOPIC)")]
    assert (coin(told, "ETH").is_active, coin(told, "ETH").wanted) == (False, None)


def test_the_mode_is_the_bots_until_it_confirms_another(told: Told) -> None:
    told.send("a", SetMode(value=Mode.ACTIVE))
    assert told.state.status is not None
    assert (told.state.status.mode, told.state.wanted_mode) == ("STANDBY", "ACTIVE")
    told.publish("status", {**STATUS, "mode": "ACTIVE"})
    warning = {"code": "NO_CRYPTOS", "message": "Nothing to trade."}
    reaction = told.respond("mode", "a", data={"mode": "ACTIVE"}, warnings=[warning])
    assert said(reaction) == [
        ("information", "Mode ACTIVE", "Executed in 3.1 ms: mode ACTIVE."),
        ("warning", "Mode ACTIVE", "Nothing to trade. (NO_CRYPTOS)"),
    ]
    assert (told.state.status.mode, told.state.wanted_mode) == ("ACTIVE", None)


def test_answers_to_others_are_in_the_history_and_no_news(told: Told) -> None:
    reaction = told.respond("mode", "somebody's", source="node-red", data={"mode": "STANDBY"})
    assert said(reaction) == []
    assert [(entry.name, entry.source, entry.said) for entry in told.state.entries] == [
        ("mode", "node-red", "mode STANDBY")
    ]


def test_a_duplicate_of_a_command_under_way_is_not_its_end(told: Told) -> None:
    told.send("a", SetMode(value=Mode.ACTIVE))
    assert said(told.respond("mode", "a", "DUPLICATE", data={"first": {"status": "PENDING"}})) == []
    assert told.state.wanted_mode is Mode.ACTIVE


def test_silence_is_told_once_and_a_late_answer_still_counts(told: Told) -> None:
    told.send("a", SetMode(value=Mode.ACTIVE), at=100)
    assert said(told.state.tick(100 + TIMEOUT_S - 0.1)) == []
    [(severity, title, text)] = said(told.state.tick(100 + TIMEOUT_S))
    assert (severity, title) == ("warning", "Mode ACTIVE")
    assert "online and has not answered within 3 s" in text
    assert said(told.state.tick(200)) == []
    assert told.state.wanted_mode is Mode.ACTIVE
    assert said(told.respond("mode", "a"))[0][0] == "information"


def test_a_bot_that_is_away_is_not_waited_for(told: Told) -> None:
    assert said(told.publish("availability", "offline"))[0][:2] == ("error", "Bot offline")
    told.send("a", SetMode(value=Mode.ACTIVE), at=100)
    [(_, _, text)] = said(told.state.tick(101))
    assert text == "The bot is offline. The command waits in the broker and runs when the bot comes back. (BOT_OFFLINE)"


def test_an_action_that_nobody_will_get_is_over(told: Told) -> None:
    told.publish("availability", "offline")
    told.send("a", Close(symbol="ETH"), at=100, retained=False, has_subscriber=False)
    [(_, _, text)] = said(told.state.tick(101))
    assert "gone: send it again" in text
    assert told.state.pending == {}


def test_a_bot_that_comes_is_asked_for_what_it_does_not_publish() -> None:
    told = Told()
    asked = (SearchCatalog(), History(), Performance(days=1))
    assert told.publish("availability", "online").asks == asked
    assert told.publish("availability", "online").asks == ()
    told.publish("availability", "offline")
    assert told.publish("availability", "online").asks == asked


def test_the_catalog_is_asked_for_again_now_and_then(told: Told) -> None:
    assert told.state.tick(0).asks == ()
    assert told.state.tick(299).asks == ()
    assert told.state.tick(300).asks == (SearchCatalog(),)
    assert told.state.tick(301).asks == ()
    told.publish("availability", "offline")
    assert told.state.tick(1000).asks == ()


def test_coins_in_use_come_first_and_the_others_by_volume(told: Told) -> None:
    rows = [
        match("AVAX", volume_24h=5),
        match("BTC"),
        match("SOL", volume_24h=9),
        match("ZEC", price=None, volume_24h=None),
    ]
    told.send("q", SearchCatalog())
    assert said(told.respond("catalog", "q", data={"cryptos": rows})) == []
    assert [coin.symbol for coin in told.state.coins] == ["BTC", "ETH", "SOL", "AVAX", "ZEC"]
    bitcoin, solana = coin(told, "BTC"), coin(told, "SOL")
    assert (bitcoin.topic_id, bitcoin.price, bitcoin.max_leverage) == (14, pytest.approx(91234.5), 10)
    assert (solana.topic_id, solana.price, solana.is_in_use) == (9, 2, False)


def test_an_answer_of_another_version_is_a_warning(told: Told) -> None:
    told.send("q", SearchCatalog())
    [(severity, _, text)] = said(told.respond("catalog", "q", data={"cryptos": [{"symbol": "BTC"}]}))
    assert severity == "warning"
    assert "another version" in text


def test_what_cannot_be_read_is_kept_to_be_shown(told: Told) -> None:
    told.publish("response/mode", "{}")
    assert told.state.heard.unreadable is not None
    assert "bot/response/mode" in told.state.heard.unreadable


def test_the_history_leaves_questions_out_and_tells_what_ended_unseen(told: Told) -> None:
    told.send("a", SetCrypto(symbol="SOL", value=Switch.ON))
    row = {"seq": 1, "error": None, "source": "cli:alice", "channel": "mqtt", "received_at": NOW, "executed_at": NOW}
    rows = [
        {**row, "id": "q", "name": "catalog", "command": "{}", "topic": "bot/request/catalog", "status": "EXECUTED"},
        {
            **row,
            "id": "a",
            "name": "cryptos",
            "command": '{"value":"ON","id":"a"}',
            "topic": "bot/cryptos/SOL/set",
            "status": "EXECUTED",
        },
        {**row, "id": None, "name": "mode", "command": "ACTIVE", "topic": None, "status": "SUPERSEDED"},
        {"seq": "of another version"},
    ]
    told.send("h", History())
    assert said(told.respond("history", "h", data={"commands": rows})) == [
        ("information", "SOL ON", "Ended as EXECUTED.")
    ]
    entries = [(entry.name, entry.said, entry.status) for entry in shown(told.state.entries)]
    assert entries == [("cryptos", "SOL ON", "EXECUTED"), ("mode", "ACTIVE", "SUPERSEDED")]
    assert coin(told, "ETH").wanted is None
    told.respond("cryptos", "a")
    assert [entry.id for entry in shown(told.state.entries)] == ["a", None]


def test_the_curve_has_one_point_a_minute_after_those_the_bot_kept() -> None:
    told = Told()
    told.publish("account", {**ACCOUNT, "equity_usd": 9, "updated_at": "2026-11-20T10:02:01.000Z"})
    kept = [{"at": f"2026-11-20T10:0{minute}:00.000Z", "equity_usd": minute} for minute in (0, 1)]
    sums = dict.fromkeys(
        ("closed_pnl_usd", "fees_usd", "funding_usd", "pnl_usd", "max_drawdown_usd", "max_drawdown_pct"), 0
    )
    nothing = dict.fromkeys(("win_rate_pct", "profit_factor", "expectancy_usd", "average_holding_s", "best", "worst"))
    counts = dict.fromkeys(("trades", "wins", "losses"), 0)
    lists: dict[str, list[Any]] = {"days": [], "coins": [], "topics": [], "equity": kept}
    times = {"since": NOW, "until": NOW, "foreign": {"trades": 0, "pnl_usd": 0}}
    told.send("p", Performance(days=1))
    assert said(told.respond("performance", "p", data={**sums, **nothing, **counts, **lists, **times})) == []
    told.publish("account", {**ACCOUNT, "equity_usd": 10, "updated_at": "2026-11-20T10:02:30.000Z"})
    told.publish("account", {**ACCOUNT, "equity_usd": 11, "updated_at": "2026-11-20T10:03:00.000Z"})
    drawn = [(rfc3339(point.at)[14:19], int(point.equity_usd)) for point in told.state.curve]
    assert drawn == [("00:00", 0), ("01:00", 1), ("02:30", 10), ("03:00", 11)]


def test_a_lost_connection_is_told_once_and_commands_without_an_answer_stay_open(told: Told) -> None:
    told.send("a", SetMode(value=Mode.ACTIVE))
    told.send("q", History())
    assert said(told.state.lost(GONE)) == [("error", "Connection lost", GONE.message)]
    assert said(told.state.lost(GONE)) == []
    assert (told.state.problem, list(told.state.pending)) == (GONE.message, ["a"])
    told.state.connected()
    assert told.state.problem is None
    assert told.state.heard.active == {}


def test_a_command_that_the_broker_did_not_take_is_told(told: Told) -> None:
    told.state.sent("a", Flatten())
    assert said(told.state.not_taken("a", GONE)) == [("error", "Flatten", f"{GONE.message} (CONNECTION_LOST)")]
    assert told.state.pending == {}
    told.state.sent("q", History())
    assert said(told.state.not_taken("q", GONE)) == []


def test_what_waits_is_bounded(told: Told) -> None:
    for number in range(1000):
        told.state.sent(str(number), Flatten())
    assert len(told.state.pending) == 50


def test_the_bots_own_heartbeat_interval_counts(told: Told) -> None:
    info = {
        "version": "1",
        "protocol_version": 1,
        "network": "sim",
        "account_address": None,
        "capabilities": [],
        "crypto_sets": {},
        "strategies": [],
        "instance_id": "a",
        "started_at": NOW,
    }
    assert told.state.heard.is_silent(60)
    told.publish("info", {**info, "settings": {"BOT_HEARTBEAT_INTERVAL_S": 60}})
    assert not told.state.heard.is_silent(60)
    told.publish("info", {**info, "settings": {}})
    assert told.state.heard.is_silent(60)


def test_only_what_can_cost_money_is_asked_about(told: Told) -> None:
    state = told.state
    assert asking.question(SetMode(value=Mode.ACTIVE), state) == (
        "Start trading BTC on sim?\n\nEquity $512.50. From then on the bot opens positions by itself."
    )
    assert "every position is closed (ETH)" in str(asking.question(Flatten(), state))
    assert "BOT_ON_STOP" in str(asking.question(SetMode(value=Mode.STOPPED), state))
    assert asking.question(Close(symbol="ETH"), state) == "Close the position in ETH at market?"
    for body in (
        SetMode(value=Mode.STANDBY),
        SetCrypto(symbol="BTC", value=Switch.OFF),
        SetCryptos(value={}),
        ActivateSet(),
    ):
        assert asking.question(body, state) is None


def test_real_money_is_called_that(told: Told) -> None:
    told.publish("status", {**STATUS, "network": "mainnet"})
    assert "REAL MONEY on mainnet" in str(asking.question(SetMode(value=Mode.ACTIVE), told.state))


def test_no_start_without_a_coin_and_nothing_without_a_connection(told: Told) -> None:
    assert asking.objection(SetMode(value=Mode.ACTIVE), told.state) is None
    told.publish("cryptos", {})
    told.publish("cryptos/BTC", {**COIN, "state": "OFF"})
    assert "activate at least one coin" in str(asking.objection(SetMode(value=Mode.ACTIVE), told.state))
    assert asking.objection(SetMode(value=Mode.STANDBY), told.state) is None
    told.state.lost(GONE)
    assert str(asking.objection(SetMode(value=Mode.STANDBY), told.state)).startswith("Not sent")
