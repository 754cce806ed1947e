"""How the data of an answer is shown, for the commands that ask for data."""

from collections.abc import Mapping, Sequence
from typing import Final

from pydantic import BaseModel, JsonValue, ValidationError

from allora_mqtt.protocol.books import Performance, TradesPage
from allora_mqtt.protocol.messages import CatalogMatch, Response
from allora_mqtt_cli import performance, render
from allora_mqtt_cli.outcome import said
from allora_mqtt_cli.output import Output

_FILLS: Final = ("at", "symbol", "side", "direction", "size", "price", "fee_usd", "closed_pnl_usd")
_HISTORY: Final = ("received_at", "name", "said", "status", "source", "error")


def show_trades(output: Output, response: Response) -> None:
    """Show round trips or fills."""
    try:
        page = TradesPage.model_validate(response.data)
    except ValidationError:
        _show(output, response.data)
        return
    if page.trades:
        output.show(performance.trades(page.trades))
    elif page.fills:
        output.show(render.records(_json_rows(page.fills), _FILLS, "fills"))
    else:
        output.say("Nothing yet.")
    if page.next is not None:
        output.note(f"More with --before {page.next}", "dim")


def show_history(output: Output, response: Response) -> None:
    """Show commands and how they ended."""
    rows = response.data.get("commands")
    if not isinstance(rows, list):
        _show(output, response.data)
        return
    spoken = [{**row, "said": said(row.get("command"), row.get("channel"))} for row in rows if isinstance(row, dict)]
    _show(output, {"commands": [*spoken]}, _HISTORY)


def show_performance(output: Output, response: Response) -> None:
    """Show sums, results by day, coin and topic, and the course of the equity."""
    try:
        figures = Performance.model_validate(response.data)
    except ValidationError:
        _show(output, response.data)
        return
    output.show(performance.summary(figures))


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


def _json_rows(models: Sequence[BaseModel]) -> list[dict[str, JsonValue]]:
    return [model.model_dump(mode="json") for model in models]


def _show(output: Output, data: Mapping[str, JsonValue], columns: Sequence[str] = ()) -> None:
    if any(value not in ([], {}) for value in data.values()):
        output.show(render.answer(data, columns))
    else:
        output.say("Nothing yet.")
