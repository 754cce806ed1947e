"""The scenes. Everything they say happens: what is shown was sent, and what is claimed was counted at the exchange."""

import json
import sys
import time
from typing import Any, Final

from paho.mqtt.enums import MQTTProtocolVersion

from allora_mqtt.protocol.messages import BotStatus, Position
from allora_mqtt.protocol.topics import Event, Topics
from allora_mqtt_cli import render
from allora_mqtt_cli.broker import Broker
from allora_mqtt_cli.connection import Connection
from allora_mqtt_cli.demo.line import Line
from allora_mqtt_cli.demo.stage import Stage
from allora_mqtt_cli.demo.telling import Teller
from allora_mqtt_cli.output import Output

_TIMEOUT_S: Final = 10
_STARTS_S: Final = 60
_WATCHED_S: Final = 6
_BEYOND: Final = 1.002
"""How far past a target the price is pushed."""
_SIGNALS_SHOWN: Final = 3


def run(output: Output, *, is_paced: bool) -> None:
    """Play all scenes; however that ends, nothing is left behind.

    Args:
        output: where the tour is told.
        is_paced: whether each scene waits for Enter.

    Raises:
        CliError: something did not happen.
    """
    with Stage() as stage:
        broker = Broker(
            "127.0.0.1", stage.port, None, None, None, "tcp", (MQTTProtocolVersion.MQTTv311,), embedded=True
        )
        teller = Teller(output.console(), stage.port, waits=is_paced and sys.stdin.isatty())
        with Connection(broker, _TIMEOUT_S) as connection:
            line = Line(connection, Topics())
            scenes = (_begin, _activate, _trade, _price_moves, _standby, _once, _killed, _flatten, _report)
            for scene in scenes:
                scene(stage, line, teller)
                teller.pause(line)
        folder = stage.folder
    teller.say(f"That was all. Bot, exchange and broker have ended, and {folder} is gone.", "green")
    teller.say("Your own bot: `allora-mqtt run`. It starts in STANDBY, on the simulator, as this one did.")


def _begin(stage: Stage, line: Line, teller: Teller) -> None:
    teller.scene(
        "A bot starts, and does nothing",
        "Three processes run for this tour: an MQTT broker, a simulated exchange with simulated predictions, and the "
        f"bot. All of it lives in {stage.folder}; no money, no key, no network. The bot is steered and seen over MQTT "
        "alone. A bot that starts is in STANDBY: it watches and opens nothing.",
    )
    _start(stage, line)
    status = BotStatus.model_validate(line.json(line.topics.status))
    teller.heard(line.topics.availability, "online", "green")
    teller.heard(line.topics.mode, _mode(line), "yellow")
    teller.show(render.pairs([("equity", render.usd(status.equity_usd)), ("positions", str(status.open_positions))]))
    teller.say("In another terminal you could watch all of it:")
    teller.say(f"  $ mosquitto_sub -h 127.0.0.1 -p {stage.port} -v -t 'bot/#'", "bold magenta")


def _activate(stage: Stage, line: Line, teller: Teller) -> None:
    del stage
    teller.scene(
        "Which coins",
        "Commands are messages to topics that end in /set (be so) or lie under /request (do once). Bare words are "
        "enough. Each command is on disk before the broker is told that it arrived, and gets one answer.",
    )
    _command(line, teller, "cryptos/set", "BTC,ETH", "cryptos", "cryptos set BTC ETH", retain=True)
    teller.say("Predictions come in now. Each is compared with the price; in STANDBY nothing follows from it.")
    signal = line.topics.event(Event.SIGNAL)
    line.until(lambda: len(line.events(signal)) >= _SIGNALS_SHOWN, "a signal")
    for seen in line.events(signal)[:_SIGNALS_SHOWN]:
        teller.heard(signal, {key: seen[key] for key in ("symbol", "direction", "gap_pct", "acted")})


def _trade(stage: Stage, line: Line, teller: Teller) -> None:
    teller.scene(
        "ACTIVE: it trades",
        "Entry, stop and target leave as one action, so that no position is ever without its stop. They rest on the "
        "exchange, whatever becomes of the bot.",
    )
    _command(line, teller, "mode/set", "ACTIVE", "mode", "mode active", retain=True)
    line.until(lambda: _protected(line), "a position")
    teller.show(render.positions(_positions(line)))
    teller.say(f"The exchange has received {len(_entries(stage))} entries, with a stop and a target each.")


def _price_moves(stage: Stage, line: Line, teller: Teller) -> None:
    line.until(lambda: _protected(line), "a position")
    held = _protected(line)[0]
    target, mark = held.target_price, held.mark_price or held.entry_price
    if target is None:
        return
    way = _BEYOND if held.side == "LONG" else 1 / _BEYOND
    teller.scene(
        "The price moves",
        f"We push the simulated price of {held.symbol} past the target at {target}. The exchange closes the position "
        "by itself; the bot notices, books the result and says so.",
    )
    place = len(line.heard)
    moved = stage.ask_exchange("/sim/price", {"coin": held.symbol, "factor": f"{float(target / mark) * way:.6f}"})
    teller.say(f"  {held.symbol} is at {moved['markPx']} now.")
    closed = line.topics.event(Event.POSITION_CLOSED)
    line.until(lambda: [each for each in line.events(closed, place) if each["symbol"] == held.symbol], "its end")
    seen = next(each for each in line.events(closed, place) if each["symbol"] == held.symbol)
    teller.heard(closed, {key: seen[key] for key in ("symbol", "side", "reason", "pnl_usd")}, "green")


def _standby(stage: Stage, line: Line, teller: Teller) -> None:
    teller.scene(
        "STANDBY means STANDBY",
        "STANDBY waits for no price, no prediction and no other command. Once it is answered, no order that opens a "
        "position leaves. We count at the exchange what arrives after the answer.",
    )
    _command(line, teller, "mode/set", "STANDBY", "mode", "mode standby", retain=True)
    before, place = len(_entries(stage)), len(line.heard)
    line.listen(_WATCHED_S)
    wanted = [each for each in line.events(line.topics.event(Event.SIGNAL), place) if each["direction"] != "HOLD"]
    count = len(_entries(stage)) - before
    style = "green" if count == 0 else "bold red"
    teller.say(
        f"In {_WATCHED_S} s {len(wanted)} signals said BUY or SELL; {count} entries reached the exchange.", style
    )


def _once(stage: Stage, line: Line, teller: Teller) -> None:
    del stage
    teller.scene(
        "The same command twice",
        "A command may carry an id. With one it runs once, for ever: a nervous finger, a retry, a broker that delivers "
        "twice. The second is answered with what became of the first.",
    )
    payload = json.dumps({"value": "ON", "id": "demo-42"})
    for _ in range(2):
        _command(line, teller, "cryptos/SOL/set", payload, "cryptos", "", retain=False)


def _killed(stage: Stage, line: Line, teller: Teller) -> None:
    teller.scene(
        "kill -9",
        "The bot trades, and dies without a word. Its positions keep their stops, for those rest on the exchange. What "
        "is commanded meanwhile waits in the broker, and runs when the bot is back. It comes back in STANDBY.",
    )
    _command(line, teller, "mode/set", "ACTIVE", "mode", "mode active", retain=True)
    line.until(lambda: _protected(line), "a position")
    held = _protected(line)
    place, started = len(line.heard), time.monotonic()
    teller.say(f"  $ kill -9 {stage.bot_pid}", "bold magenta")
    stage.kill_bot()
    line.until(lambda: line.latest.get(line.topics.availability) == b"offline", "the bot's last will", _STARTS_S)
    teller.heard(line.topics.availability, "offline", "red")
    teller.say(f"At the exchange: {_resting(stage, line)}.")
    topic = f"{line.topics.base}/cryptos/SOL/set"
    teller.command(topic, "OFF", "cryptos off SOL", retain=True)
    line.publish(topic, "OFF", retain=True)
    teller.say("Nobody is there to answer. Now the bot is started again.")
    _start(stage, line)
    answer = line.answer_since(place, line.topics.response("cryptos"), started)
    teller.heard(line.topics.mode, _mode(line), "yellow")
    teller.answer(answer, f"{answer.took_ms / 1000:.1f} s after the kill")
    still = {each.symbol for each in _protected(line)}
    kept = ", ".join(sorted({each.symbol for each in held} & still)) or "none (the exchange has closed them meanwhile)"
    teller.say(f"Positions that it had and has, each with its stop: {kept}.")


def _flatten(stage: Stage, line: Line, teller: Teller) -> None:
    teller.scene(
        "The emergency exit",
        "flatten is one command: no entries any more, orders cancelled, positions closed, STANDBY. It works in every "
        "mode.",
    )
    _command(line, teller, "request/flatten", "", "flatten", "flatten", retain=False)
    line.until(lambda: not _positions(line), "the end of the positions")
    teller.say(f"At the exchange: {_resting(stage, line)}.", "green")


def _report(stage: Stage, line: Line, teller: Teller) -> None:
    del stage
    teller.scene("What came of it", "The books are exact, and every command is in the journal with how it ended.")
    result = line.send(f"{line.topics.base}/request/performance", "", line.topics.response("performance"), retain=False)
    data = result.content["data"]
    names = ("trades", "wins", "losses", "closed_pnl_usd", "fees_usd", "pnl_usd")
    teller.show(render.pairs([(name, str(data[name])) for name in names if name in data]))
    told = line.send(f"{line.topics.base}/request/history", "", line.topics.response("history"), retain=False)
    table = render.sheet("command", "id", "status")
    rows = [row for row in told.content["data"]["commands"] if row["name"] not in {"performance", "history"}]
    for row in reversed(rows):
        table.add_row(
            render.cell(f"{row['name']} {row['command']}"[:60]), render.cell(row["id"]), render.cell(row["status"])
        )
    teller.show(table)


def _command(line: Line, teller: Teller, tail: str, payload: str, name: str, words: str, *, retain: bool) -> None:
    topic = f"{line.topics.base}/{tail}"
    teller.command(topic, payload, words, retain=retain)
    teller.answer(line.send(topic, payload, line.topics.response(name), retain=retain))


def _start(stage: Stage, line: Line) -> None:
    place = len(line.heard)
    stage.start_bot()
    topics = line.topics
    line.until(lambda: (topics.availability, b"online") in line.heard[place:], "the bot", _STARTS_S)
    line.until(lambda: line.events(topics.heartbeat, place), "a heartbeat", _STARTS_S)
    line.until(lambda: (line.json(topics.status) or {}).get("equity_usd"), "the account", _STARTS_S)


def _mode(line: Line) -> str:
    return line.latest.get(line.topics.mode, b"").decode(errors="replace")


def _positions(line: Line) -> list[Position]:
    return [Position.model_validate(each) for each in line.json(line.topics.positions) or []]


def _protected(line: Line) -> list[Position]:
    return [each for each in _positions(line) if each.stop_price is not None and each.target_price is not None]


def _entries(stage: Stage) -> list[Any]:
    return [
        each
        for each in stage.ask_exchange("/sim/log?since=0")
        if each["action"]["type"] == "order" and any(not order["r"] for order in each["action"]["orders"])
    ]


def _resting(stage: Stage, line: Line) -> str:
    account = line.json(line.topics.info)["account_address"]
    state = stage.ask_exchange(f"/sim/state?address={account.lower()}")
    held = [each for each in state["clearinghouse"]["assetPositions"] if float(each["position"]["szi"])]
    return f"{len(held)} positions, {len(state['orders'])} orders that rest (stops and targets)"
