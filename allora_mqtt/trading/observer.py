"""Who is told what trading does."""

from typing import Protocol

from allora_mqtt.protocol.messages import FillView, OrderView, PositionClosed, SignalView


class Observer(Protocol):
    """Told on the event loop, and must not block."""

    def on_signal(self, signal: SignalView) -> None:
        """The strategy has said something new."""

    def on_order(self, order: OrderView) -> None:
        """An order was sent, or something became of it."""

    def on_fill(self, fill: FillView) -> None:
        """The exchange has filled an order."""

    def on_position_closed(self, closed: PositionClosed) -> None:
        """A position of ours has ended."""

    def on_market(self) -> None:
        """Prices, predictions or signals have changed."""

    def on_account(self) -> None:
        """The account, the positions or their stops have changed."""

    def on_catalog(self) -> None:
        """What can be traded has changed."""

    def on_trip(self, name: str, reason: str) -> None:
        """A limit on losses was reached: no entries until somebody resets it."""

    def on_breaker(self, name: str, reason: str, *, opened: bool) -> None:
        """A dependency's breaker has opened or closed."""
