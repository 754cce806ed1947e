"""An event as one sentence, with the ids that lead from a command to an order and on to its fills."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final

from pydantic import BaseModel, JsonValue, ValidationError

from allora_mqtt.protocol.commands import QUESTIONS
from allora_mqtt.protocol.messages import (
    BreakerChanged,
    CommandEvent,
    CryptoChanged,
    Direction,
    FillView,
    ModeChanged,
    OrderView,
    PositionClosed,
    SignalView,
)
from allora_mqtt.protocol.model import Amount
from allora_mqtt.protocol.topics import Event
from allora_mqtt_cli import render
from allora_mqtt_cli.outcome import describe

_MODELS: Final[Mapping[str, type[BaseModel]]] = {
    Event.MODE_CHANGED: ModeChanged,
    Event.CRYPTO_CHANGED: CryptoChanged,
    Event.SIGNAL: SignalView,
    Event.ORDER: OrderView,
    Event.FILL: FillView,
    Event.POSITION_CLOSED: PositionClosed,
    Event.BREAKER_OPENED: BreakerChanged,
    Event.BREAKER_CLOSED: BreakerChanged,
    Event.COMMAND: CommandEvent,
}
_WIDEST: Final = max(map(len, Event))
_SHOWN: Final = 10
"""Of an id, as in the bot's log."""


def line(kind: str, content: JsonValue, at: datetime) -> str:
    """Write an event as one line: local time, type, what happened, and its ids.

    Args:
        kind: the event's type.
        content: what was published on `event/<type>`.
        at: when it happened.
    """
    said, ids = describe(content), ""
    model = _MODELS.get(kind)
    if model is not None:
        try:
            event = model.model_validate(content)
        except ValidationError:
            # Of another version: all of it is better than nothing.
            pass
        else:
            said, ids = sentence(event), ", ".join(_ids(event))
    return f"{at.astimezone():%Y-%m-%d %H:%M:%S}  {kind:<{_WIDEST}}  {said}{f'  [{ids}]' if ids else ''}"


def asks_only(kind: str, content: JsonValue) -> bool:
    """Whether an event is of a command that changed nothing; the answer to `events` leaves those out too."""
    return kind == Event.COMMAND and isinstance(content, dict) and content.get("name") in QUESTIONS


def sentence(event: BaseModel) -> str:  # noqa: PLR0911 - one for each type
    """Say what happened."""
    match event:
        case CommandEvent(status=status, error=error):
            why = "" if error is None else f": {error.message} ({error.code})"
            what = f"{event.name} {event.asked or ''}".rstrip()
            return f"{what} from {event.source or 'somebody'}: {status or 'noted'}{why}"
        case ModeChanged():
            return f"{event.mode}, was {event.previous} ({event.reason})"
        case CryptoChanged():
            switched = [*(f"{name} on" for name in event.switched_on), *(f"{name} off" for name in event.switched_off)]
            return f"{', '.join(switched) or 'other topics'}; active: {', '.join(event.active) or 'none'}"
        case SignalView():
            return _signal(event)
        case OrderView():
            return _order(event)
        case FillView():
            closed = f", closed {_usd(event.closed_pnl_usd)}" if event.closed_pnl_usd else ""
            return (
                f"{event.side} {event.size} {event.symbol} at {_price(event.price)} ({event.direction}){closed}, "
                f"fee {event.fee_usd:.4f} USD"
            )
        case PositionClosed():
            brought = event.closed_pnl_usd if event.pnl_usd is None else event.pnl_usd
            before = " before fees" if event.pnl_usd is None else ""
            return f"{event.side} {event.size} {event.symbol} ended ({event.reason}): {_usd(brought)}{before}"
        case BreakerChanged():
            return f"{event.name}: {event.reason}"
    return describe(event.model_dump(mode="json"))


def _signal(signal: SignalView) -> str:
    gap = "" if signal.gap_pct is None else f", gap {signal.gap_pct:+.2f} %"
    if signal.acted:
        followed = "an entry is made"
    else:
        why = signal.reasons[0 if signal.direction is Direction.HOLD else -1] if signal.reasons else "no reason given"
        followed = f"no entry ({why})"
    return f"{signal.symbol} {signal.direction}{gap}: {followed}"


def _order(order: OrderView) -> str:
    price = order.limit_price if order.trigger_price is None else order.trigger_price
    kind = "limit" if order.trigger_price is None else "trigger"
    average = "" if order.average_price is None else f" at {_price(order.average_price)}"
    filled = f", {order.filled_size} of it{average}" if order.filled_size else ""
    why = f" ({order.error})" if order.error else f" ({order.reason})" if order.purpose == "exit" else ""
    return (
        f"{order.purpose} {order.side} {order.size} {order.symbol}, {kind} {_price(price)}: {order.status}{filled}{why}"
    )


def _ids(event: BaseModel) -> Iterator[str]:
    """Return what an event and others have in common."""
    match event:
        case CommandEvent():
            yield from _named("command", event.seq)
            yield from _named("id", event.id)
        case ModeChanged() | CryptoChanged():
            yield from _named("command", event.command_seq)
        case SignalView():
            yield from _named("signal", event.signal_id)
        case OrderView():
            yield from _named("order", event.order_id)
            yield from _named("oid", event.oid)
            yield from _named("signal", event.signal_id)
        case FillView():
            yield from _named("fill", event.fill_id, whole=True)
            yield from _named("order", event.order_id)
        case PositionClosed():
            yield from _named("position", event.position_id)
            yield from _named("trade", event.trade_id, whole=True)


def _named(name: str, value: str | int | None, *, whole: bool = False) -> Iterator[str]:
    if value is not None:
        yield f"{name} {value if whole or isinstance(value, int) else value[:_SHOWN]}"


def _price(value: Amount) -> str:
    return render.price(value).plain


def _usd(value: Amount) -> str:
    return render.usd(value, signed=True).plain
