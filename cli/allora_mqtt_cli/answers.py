"""How the data of an answer is shown, for the commands that ask for data."""

import json
from collections.abc import Mapping, Sequence
from typing import Final

from pydantic import JsonValue, ValidationError

from allora_mqtt.protocol.commands import Envelope
from allora_mqtt.protocol.messages import CatalogMatch, Response
from allora_mqtt_cli import render
from allora_mqtt_cli.outcome import describe
from allora_mqtt_cli.output import Output

_TRADES: Final = ("at", "symbol", "side", "direction", "size", "price", "fee_usd", "closed_pnl_usd")
_HISTORY: Final = ("received_at", "name", "said", "status", "source", "error")
_LONGEST_SAID: Final = 60


def show_trades(output: Output, response: Response) -> None:
    """Show fills."""
    _show(output, response.data, _TRADES)


def show_history(output: Output, response: Response) -> None:
    """Show commands and how they ended."""
    rows = response.data.get("commands")
    if not isinstance(rows, list):
        _show(output, response.data)
        return
    spoken = [{**row, "said": said(row.get("command"), row.get("channel"))} for row in rows if isinstance(row, dict)]
    _show(output, {"commands": [*spoken]}, _HISTORY)


def said(payload: JsonValue, channel: JsonValue = "mqtt") -> str:
    """Return what a recorded payload says, without its envelope, and without its name where that stands in it."""
    text = str(payload or "")
    try:
        content = json.loads(text)
    except ValueError:
        content = text
    if isinstance(content, dict):
        left_out = Envelope.model_fields.keys() | ({"name"} if channel == "spool" else set())
        content = {key: value for key, value in content.items() if key not in left_out}
        content = next(iter(content.values())) if content.keys() in ({"value"}, {"arguments"}) else content
    words = describe(content)
    return words if len(words) <= _LONGEST_SAID else f"{words[:_LONGEST_SAID]}…"


def show_performance(output: Output, response: Response) -> None:
    """Show results by day and by coin, and the course of the equity in one line."""
    data = dict(response.data)
    course = data.pop("equity", None)
    _show(output, data)
    points = course if isinstance(course, list) else []
    equity = [point["equity_usd"] for point in points if isinstance(point, dict) and "equity_usd" in point]
    values = [value for value in equity if isinstance(value, int | float)]
    if values:
        first, last = values[0], values[-1]
        output.say(
            f"Equity from ${first:,.2f} to ${last:,.2f}; lowest ${min(values):,.2f}, highest ${max(values):,.2f}."
        )


def show_catalog(output: Output, response: Response) -> None:
    """Show what a search of the catalog found."""
    for rows in response.data.values():
        if not isinstance(rows, list):
            continue
        if not rows:
            output.say("Nothing found; --availability all searches everything.")
            return
        try:
            matches = [CatalogMatch.model_validate(row) for row in rows]
        except ValidationError:
            continue
        output.show(render.catalog(matches))
        return
    _show(output, response.data)


def _show(output: Output, data: Mapping[str, JsonValue], columns: Sequence[str] = ()) -> None:
    if any(value not in ([], {}) for value in data.values()):
        output.show(render.answer(data, columns))
    else:
        output.say("Nothing yet.")
