"""Commands that read what the broker keeps: no question to the bot, an answer even while it is away."""

from typing import Any, Final

from allora_mqtt.protocol.commands import Ping
from allora_mqtt.protocol.messages import (
    ActiveSet,
    Availability,
    BotStatus,
    ConfigState,
    CryptoState,
    Positions,
)
from allora_mqtt_cli import render, session
from allora_mqtt_cli.client import Client, availability_of, understand
from allora_mqtt_cli.invocation import Invocation

_AVAILABILITY_STYLES: Final = {Availability.ONLINE: "green", Availability.OFFLINE: "bold red"}


def show_mode(invocation: Invocation) -> None:
    """Write the mode, as one bare word."""
    with session.open_client(invocation) as client:
        payload, availability = _read(client, client.topics.mode)
    mode = payload.decode(errors="replace")
    if invocation.output.as_json:
        invocation.output.document({"availability": availability, "mode": mode})
        return
    invocation.output.say(mode)
    session.note_staleness(invocation.output, availability)


def show_status(invocation: Invocation) -> None:
    """Write the status message."""
    with session.open_client(invocation) as client:
        payload, availability = _read(client, client.topics.status)
        status = understand(BotStatus, payload, client.topics.status)
    if invocation.output.as_json:
        invocation.output.document({"availability": availability, **status.model_dump(mode="json")})
        return
    word = render.cell(availability or "unknown", _AVAILABILITY_STYLES[availability] if availability else "yellow")
    invocation.output.show(render.status(status, word))
    session.note_staleness(invocation.output, availability)


def show_positions(invocation: Invocation) -> None:
    """Write the open positions."""
    with session.open_client(invocation) as client:
        payload, availability = _read(client, client.topics.positions)
        held = understand(Positions, payload, client.topics.positions)
    if invocation.output.as_json:
        invocation.output.document({"availability": availability, "positions": held.model_dump(mode="json")})
        return
    if held.root:
        invocation.output.show(render.positions(held.root))
    else:
        invocation.output.say("No open positions.")
    session.note_staleness(invocation.output, availability)


def show_config(invocation: Invocation) -> None:
    """Write the runtime settings in force."""
    with session.open_client(invocation) as client:
        payload, availability = _read(client, client.topics.config)
        config = understand(ConfigState, payload, client.topics.config)
    if invocation.output.as_json:
        invocation.output.document({"availability": availability, "config": config.model_dump(mode="json")})
        return
    invocation.output.show(render.settings(config.root))
    session.note_staleness(invocation.output, availability)


def show_cryptos(invocation: Invocation) -> None:
    """Write the active coins, and those that still have a position, with what is known of each."""
    with session.open_client(invocation) as client:
        topics = client.topics
        found = client.read_retained(topics.cryptos, topics.positions, topics.availability)
        if topics.cryptos not in found:
            raise session.no_state(topics.cryptos)
        active = understand(ActiveSet, found[topics.cryptos], topics.cryptos).root
        held = understand(Positions, found.get(topics.positions, b"[]"), topics.positions).root
        states = _states(client, {*active, *(position.symbol for position in held if position.ours)})
        availability = availability_of(found.get(topics.availability))
    if invocation.output.as_json:
        rows = {symbol: state.model_dump(mode="json") for symbol, state in states.items()}
        invocation.output.document({"availability": availability, "active": active, "cryptos": rows})
        return
    if active or states:
        invocation.output.show(render.cryptos(active, states))
    else:
        invocation.output.say("No active coins. `allora-mqtt cryptos on BTC` adds one.")
    session.note_staleness(invocation.output, availability)


def ping(invocation: Invocation) -> None:
    """Write how long the bot takes to answer, seen from here."""
    answered = session.answer(invocation, Ping())
    round_trip_ms, inside_ms = answered.round_trip_s * 1000, answered.response.duration_ms
    if invocation.output.as_json:
        document: dict[str, Any] = {"round_trip_ms": round(round_trip_ms, 3), "bot_ms": inside_ms}
        invocation.output.document(document)
    else:
        invocation.output.say(f"Round trip {round_trip_ms:.1f} ms, of which {inside_ms:.1f} ms in the bot.", "green")


def _read(client: Client, topic: str) -> tuple[bytes, Availability | None]:
    """Return a retained payload and whether the bot that published it is there."""
    found = client.read_retained(topic, client.topics.availability)
    if topic not in found:
        raise session.no_state(topic)
    return found[topic], availability_of(found.get(client.topics.availability))


def _states(client: Client, symbols: set[str]) -> dict[str, CryptoState]:
    if not symbols:
        return {}
    topics = client.topics
    found = client.read_retained(*(topics.crypto(symbol) for symbol in sorted(symbols)))
    return {
        symbol: understand(CryptoState, found[topics.crypto(symbol)], topics.crypto(symbol))
        for symbol in sorted(symbols)
        if topics.crypto(symbol) in found
    }
