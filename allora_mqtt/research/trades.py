"""Orders as the simulated exchange takes them, and the books on what became of them: one trade for each position."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_UP, Decimal
from typing import Final

from allora_mqtt.market.catalog import Asset
from allora_mqtt.market.precision import round_price
from allora_mqtt.protocol.messages import Side
from allora_mqtt.simulator.account import Account, OrderRequest, TpSl, Trigger
from allora_mqtt.trading.portfolio import Holding
from allora_mqtt.trading.risk import EntryPlan

_CLOSE_SLIPPAGE: Final = Decimal("0.08")
"""How far from the mark a close may fill: what the bot accepts on its last try."""
_TRIGGER_SLIPPAGE: Final = Decimal("0.1")
"""A stop that was triggered fills at 10 % off its trigger at worst, as the bot sends it."""


@dataclass(frozen=True, slots=True)
class Trade:
    """A position from its opening to its end.

    Attributes:
        gap_pct: what the prediction promised when it was opened.
        pnl_usd: what it brought: price difference less fees and funding.
        reason: why it ended: `stop`, `target`, `horizon`, `prediction_turned`, `liquidation`, `end_of_data`.
        opened_at, closed_at: unix seconds.
    """

    symbol: str
    side: Side
    size: Decimal
    topic_id: int
    gap_pct: Decimal
    entry_price: Decimal
    exit_price: Decimal
    stop_price: Decimal
    target_price: Decimal
    opened_at: float
    closed_at: float
    fees_usd: Decimal
    funding_usd: Decimal
    pnl_usd: Decimal
    reason: str


@dataclass
class _Open:
    """A position that is not at its end: what its fills said so far."""

    holding: Holding
    asset: Asset
    gap_pct: Decimal
    opened_at: float
    funding_before_usd: Decimal
    fees_usd: Decimal = Decimal(0)
    closed_pnl_usd: Decimal = Decimal(0)
    exit_size: Decimal = Decimal(0)
    exit_notional_usd: Decimal = Decimal(0)
    reason: str = ""


def entry_requests(plan: EntryPlan, asset: Asset, trade_id: str) -> list[OrderRequest]:
    """Return an entry and its target and stop, as the bot sends them in one action."""
    entry = OrderRequest(asset.index, plan.is_buy, plan.limit_price, plan.size, tif="Ioc", cloid=f"{trade_id}/entry")
    exits: tuple[tuple[TpSl, Decimal], ...] = (("tp", plan.target_price), ("sl", plan.stop_price))
    return [entry, *(_exit(plan, asset, kind, price, trade_id) for kind, price in exits)]


def _exit(plan: EntryPlan, asset: Asset, kind: TpSl, price: Decimal, trade_id: str) -> OrderRequest:
    worst = price * (1 - _TRIGGER_SLIPPAGE if plan.is_buy else 1 + _TRIGGER_SLIPPAGE)
    return OrderRequest(
        asset.index,
        not plan.is_buy,
        round_price(worst, asset.sz_decimals),
        plan.size,
        reduce_only=True,
        trigger=Trigger(price, is_market=True, kind=kind),
        cloid=f"{trade_id}/{'target' if kind == 'tp' else 'stop'}",
    )


def close_request(szi: Decimal, mark: Decimal, asset: Asset, holding: Holding, reason: str) -> OrderRequest:
    """Return the order that closes a position at the market."""
    is_long = szi > 0
    worst = mark * (1 - _CLOSE_SLIPPAGE if is_long else 1 + _CLOSE_SLIPPAGE)
    price = round_price(worst, asset.sz_decimals, ROUND_UP if is_long else ROUND_DOWN)
    return OrderRequest(
        asset.index,
        not is_long,
        price,
        abs(szi),
        reduce_only=True,
        tif="Ioc",
        cloid=f"{holding.position_id}/{reason}",
    )


class Books:
    """Turns the exchange's fills into trades, and takes each away: a year of them would make every order slower.

    Args:
        account: whose fills.
    """

    def __init__(self, account: Account) -> None:
        self._account = account
        self._open: dict[str, _Open] = {}
        self._count = 0

    def next_id(self) -> str:
        """Return the id of the next position."""
        self._count += 1
        return str(self._count)

    def opened(self, holding: Holding, asset: Asset, gap_pct: Decimal, at: float) -> None:
        """Begin a trade; its entry has been filled already."""
        funding_usd = self._account.funding_usd.get(asset.index, Decimal(0))
        self._open[holding.symbol] = _Open(holding, asset, gap_pct, at, funding_usd)

    def take_fills(self, at: float) -> Iterator[Trade]:
        """Yield the trades that have come to their end since the last call."""
        fills = list(self._account.fills)
        self._account.fills.clear()
        for line in fills:
            trade = self._open[line["coin"]]
            trade.fees_usd += Decimal(line["fee"])
            if line["dir"].startswith("Open"):
                continue
            size, price = Decimal(line["sz"]), Decimal(line["px"])
            trade.closed_pnl_usd += Decimal(line["closedPnl"])
            trade.exit_size += size
            trade.exit_notional_usd += size * price
            trade.reason = "liquidation" if "liquidation" in line else line["cloid"].rpartition("/")[2]
        for symbol, trade in list(self._open.items()):
            if trade.asset.index not in self._account.positions:
                del self._open[symbol]
                yield self._ended(trade, at)

    def _ended(self, trade: _Open, at: float) -> Trade:
        holding = trade.holding
        funding_usd = self._account.funding_usd.get(trade.asset.index, Decimal(0)) - trade.funding_before_usd
        return Trade(
            symbol=holding.symbol,
            side=holding.side,
            size=holding.size,
            topic_id=holding.topic_id,
            gap_pct=trade.gap_pct,
            entry_price=holding.entry_price,
            exit_price=trade.exit_notional_usd / trade.exit_size,
            stop_price=holding.stop_price,
            target_price=holding.target_price,
            opened_at=trade.opened_at,
            closed_at=at,
            fees_usd=trade.fees_usd,
            funding_usd=funding_usd,
            pnl_usd=trade.closed_pnl_usd - trade.fees_usd - funding_usd,
            reason=trade.reason,
        )
