"""What the panel is told in its tests."""

import json
from typing import Any

from allora_mqtt.protocol.commands import Body
from allora_mqtt.protocol.topics import Topics
from allora_mqtt_cli.client import Reply
from allora_mqtt_cli.connection import Message
from allora_mqtt_cli.panel.state import PanelState, Reaction
from tests.integration.test_cli_commands import COIN, NOW, POSITION, STATUS

INTERVAL_S = 5
TIMEOUT_S = 3
ACCOUNT: dict[str, Any] = {
    "equity_usd": 512.5,
    "withdrawable_usd": 400,
    "margin_used_usd": 100,
    "exposure_usd": 1495,
    "unrealized_pnl_usd": 5,
    "daily_pnl_usd": -3.25,
    "daily_pnl_pct": -0.63,
    "drawdown_pct": 0.63,
    "updated_at": NOW,
}
BEAT: dict[str, Any] = {
    "seq": 1,
    "at": NOW,
    "uptime_s": 61,
    "mode": "STANDBY",
    "revision": 7,
    "instance_id": "a",
    "loop_lag_ms": 0.4,
}


def match(symbol: str, **fields: Any) -> dict[str, Any]:
    """A row of the answer to `catalog`."""
    known = {"availability": "both", "topics": [{"id": 9, "kind": "price", "horizon": "8h"}], "max_leverage": 10}
    return {"symbol": symbol, "active": False, "price": 2, "volume_24h": 1000, **known, **fields}


class Told:
    """A panel's state, and what it is told."""

    def __init__(self) -> None:
        self.state = PanelState(Topics("bot"), INTERVAL_S, TIMEOUT_S)
        self.state.connected()

    def publish(self, topic: str, content: object, at: float = 0) -> Reaction:
        payload = content if isinstance(content, str) else json.dumps(content)
        return self.state.take(Message(f"bot/{topic}", payload.encode(), retained=True, received_at=at))

    def respond(self, name: str, command_id: str | None, status: str = "EXECUTED", **fields: Any) -> Reaction:
        times = {"received_at": NOW, "executed_at": NOW, "duration_ms": 3.1, "revision": 8}
        return self.publish(f"response/{name}", {"id": command_id, "name": name, "status": status, **times, **fields})

    def send(self, command_id: str, body: Body, at: float = 0, **reply: Any) -> None:
        """Send a command, and have the broker take it."""
        self.state.sent(command_id, body)
        known = {"retained": True, "has_subscriber": None, "availability": None, "response": None, "round_trip_s": 0.0}
        self.state.taken(command_id, Reply(**{"topic": "bot/x", **known, **reply}), at)

    def bot(self) -> None:
        """Publish what a bot has published that trades BTC and holds ETH."""
        self.publish("availability", "online")
        self.publish("status", STATUS)
        self.publish("account", ACCOUNT)
        self.publish("cryptos", {"BTC": 14})
        self.publish("cryptos/BTC", COIN)
        self.publish("cryptos/ETH", {**COIN, "state": "OFF", "topic_id": None, "position": POSITION})
        self.publish("positions", [POSITION])
        self.publish("heartbeat", BEAT)


def said(reaction: Reaction) -> list[tuple[str, str, str]]:
    return [(notice.severity, notice.title, notice.text) for notice in reaction.notices]
