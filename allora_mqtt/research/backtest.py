"""A backtest: the rules that trade live and the exchange of the simulator, driven through past prices.

Each step brings one price. What was known by then is all that the rules see; what they decide runs at that price, with
spread and slippage. Between two steps the resting stops and targets are held against how far the price went, the worse
one first.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from allora_mqtt.market.account import AccountState, PositionState
from allora_mqtt.market.catalog import Asset, assets_from_meta
from allora_mqtt.market.predictions import Prediction
from allora_mqtt.market.quotes import Quote
from allora_mqtt.protocol.messages import Direction, Side
from allora_mqtt.protocol.runtime import RuntimeSettings
from allora_mqtt.research.predictions import Known, in_order
from allora_mqtt.research.prices import Series
from allora_mqtt.research.problems import Problem, ResearchError
from allora_mqtt.research.rows import utc
from allora_mqtt.research.run import Assumptions, Decision, Moment, Run, Tripped
from allora_mqtt.research.steps import Kind, Step, steps
from allora_mqtt.research.tape import Tape
from allora_mqtt.research.thoughts import Thoughts
from allora_mqtt.research.trades import Books, close_request, entry_requests
from allora_mqtt.simulator.account import Leverage
from allora_mqtt.simulator.exchange import Exchange
from allora_mqtt.simulator.exchange_state import ExchangeState
from allora_mqtt.simulator.margin import leverage_of, summarize
from allora_mqtt.simulator.universe import Universe
from allora_mqtt.trading.portfolio import Holding, Portfolio, exit_reason
from allora_mqtt.trading.risk import ORDERS_PER_ENTRY, TRADED_ON, EntryPlan, OrderPace, Refused, plan_entry
from allora_mqtt.trading.strategy import BUILT_IN, Opinion, Situation, Strategies, gap_pct

_ADDRESS: Final = "0xbacc"
_PROGRESS_EVERY: Final = 250


class Backtest:
    """One run of the rules through past prices.

    Args:
        series: the prices, a series for each coin.
        predictions: what steers, one topic for each coin.
        settings: the runtime settings, as live.
        assumptions: of the world.
        universe: the exchange's coins.
        strategies: those that can be chosen.

    Raises:
        ResearchError: `UNKNOWN_SYMBOL`, for a coin that the exchange does not list.
    """

    def __init__(
        self,
        series: Sequence[Series],
        predictions: Sequence[Known],
        settings: RuntimeSettings,
        assumptions: Assumptions,
        universe: Universe,
        strategies: Strategies = BUILT_IN,
    ) -> None:
        self.run = Run()
        self._series = series
        self._predictions = in_order(predictions)
        self._settings = settings
        self._assumptions = assumptions
        self._thoughts = Thoughts(settings, strategies, assumptions.max_age_s)
        self._listed = assets_from_meta(universe.meta())
        self._tape = Tape.at_costs(universe, assumptions.spread_bps, assumptions.slippage_bps, assumptions.funding_rate)
        self._exchange = Exchange(self._tape, ExchangeState())
        self._account = self._exchange.open_account(_ADDRESS, assumptions.cash_usd)
        self._portfolio = Portfolio()
        self._pace = OrderPace()
        self._books = Books(self._account)
        self._known: dict[str, Prediction] = {}
        self._entered: set[tuple[int, float]] = set()
        self._trips: dict[str, float] = {}
        self._low_usd = assumptions.cash_usd
        for each in series:
            if each.symbol not in self._listed or self._listed[each.symbol].is_delisted:
                raise ResearchError(
                    Problem.UNKNOWN_SYMBOL, f"{each.symbol} is not among the simulated exchange's coins."
                )

    def go(self, on_progress: Callable[[int], None] = lambda _done: None) -> Run:
        """Run from the first price to the last, and close what is open then.

        Args:
            on_progress: told now and then how many bars are done.
        """
        coming = iter(self._predictions)
        following = next(coming, None)
        done, now = 0, 0.0
        for step in steps(self._series):
            now = step.at
            while following is not None and following.known_at <= now:
                self._learn(following.prediction)
                following = next(coming, None)
            self._take(step)
            if step.kind is Kind.OPEN:
                done += 1
                if done % _PROGRESS_EVERY == 0:
                    on_progress(done)
        for symbol in list(self._portfolio.holdings):
            self._close(symbol, "end_of_data", now)
        self._note(now)
        on_progress(done)
        return self.run

    def _learn(self, prediction: Prediction) -> None:
        known = self._known.get(prediction.symbol)
        if known is None or prediction.at > known.at:
            self._known[prediction.symbol] = prediction

    # prices

    def _take(self, step: Step) -> None:
        asset = self._listed[step.symbol]
        if step.kind is Kind.RANGE:
            low, high = step.prices
            szi = self._account.szi(asset.index)
            if szi == 0:
                return
            for price in (low, high) if szi > 0 else (high, low):
                self._travel(asset, price, step.at)
        else:
            self._jump(asset, step.prices[0], step.at)
        if step.funding_rate is not None:
            # What has ended was paid at the old rate.
            self._tape.put_rate(self._tape.universe.assets[asset.index], step.funding_rate)
        if step.kind is Kind.OPEN:
            self._decide(step.symbol, step.at)
        self._note(step.at)

    def _travel(self, asset: Asset, price: Decimal, at: float) -> None:
        """Go to a price without skipping any: a stop or target on the way runs where it lies."""
        start = self._tape.mark(self._tape.universe.assets[asset.index], at)
        down = price < start
        on_the_way = sorted(
            {
                order.request.trigger.px
                for order in self._account.orders.values()
                if order.request.asset == asset.index
                and order.request.trigger is not None
                and order.awaits_trigger
                and min(start, price) <= order.request.trigger.px <= max(start, price)
            },
            reverse=down,
        )
        for stop in (*on_the_way, price):
            self._jump(asset, stop, at)

    def _jump(self, asset: Asset, price: Decimal, at: float) -> None:
        """Set the price, and let the exchange do what follows from it."""
        self._tape.put(self._tape.universe.assets[asset.index], price)
        self._exchange.tick(at)
        self._settle(at)
        if self._account.positions:
            self._low_usd = min(self._low_usd, self._equity_usd(at))

    # the rules, in the engine's order

    def _decide(self, symbol: str, at: float) -> None:
        now = utc(at)
        self._see_account(at, now)
        quote = self._quote(symbol, at)
        self._thoughts.see(quote)
        prediction = self._known.get(symbol)
        unusable = None if prediction is None else self._thoughts.unusable_because(prediction, quote)
        holding = self._portfolio.holdings.get(symbol)
        if holding is not None:
            usable = None if unusable is not None else prediction
            reason = exit_reason(holding, usable, quote, self._settings, now)
            if not any(order.request.asset == self._listed[symbol].index for order in self._account.orders.values()):
                # The book had no room for all of it when the stop ran; the bot sells such a rest too.
                reason = "stop"
            if reason is not None:
                self._close(symbol, reason, at)
                self._see_account(at, now)
        if prediction is not None:
            self._consider(prediction, quote, unusable, at)

    def _consider(self, prediction: Prediction, quote: Quote, unusable: str | None, at: float) -> None:
        if unusable is not None:
            gap = gap_pct(prediction.price, quote.mark)
            self.run.decisions.append(Decision(at, quote.symbol, Direction.HOLD, gap, acted=False, reason=None))
            return
        self.run.used.add((prediction.topic_id, prediction.at))
        situation = self._thoughts.situation(quote, prediction)
        opinion = self._opinion(situation)
        reason: str | None = None
        acted = False
        if opinion.direction is not Direction.HOLD:
            plan = self._plan(opinion, situation, at)
            if isinstance(plan, Refused):
                reason = plan.reason
            else:
                self._entered.add((prediction.topic_id, prediction.at))
                reason = self._enter(plan, opinion, prediction, at)
                acted = reason is None
            if reason is not None:
                self.run.refusals[_kind_of(reason)] += 1
        self.run.decisions.append(Decision(at, quote.symbol, opinion.direction, opinion.gap_pct, acted, reason))

    def _opinion(self, situation: Situation) -> Opinion:
        """Ask the strategy; the only place where it is called."""
        return self._thoughts.opinion(situation)

    def _plan(self, opinion: Opinion, situation: Situation, at: float) -> EntryPlan | Refused:
        quote, prediction = situation.quote, situation.prediction
        if self._trips:
            return Refused("a limit on losses was reached")
        if (prediction.topic_id, prediction.at) in self._entered:
            return Refused(TRADED_ON)
        gate = self._thoughts.gate_refusal(situation, opinion.direction)
        if gate is not None:
            return Refused(gate)
        asset = self._listed[quote.symbol]
        book = self._portfolio.book(self._pace.last_minute(at))
        return plan_entry(opinion.direction, opinion.gap_pct, quote, asset, self._settings, book, at)

    def _enter(self, plan: EntryPlan, opinion: Opinion, prediction: Prediction, at: float) -> str | None:
        """Send an entry with its exits; returns why it brought no position, if it did not."""
        asset = self._listed[plan.symbol]
        leverage = Leverage(plan.leverage, is_cross=not asset.only_isolated)
        self._exchange.set_leverage(self._account, asset.index, leverage, at)
        trade_id = self._books.next_id()
        self._pace.note(ORDERS_PER_ENTRY, at)
        status = self._exchange.place(self._account, entry_requests(plan, asset, trade_id), "normalTpsl", at)[0]
        if isinstance(status, dict) and "error" in status:
            return f"the exchange refused: {status['error']}"
        position = self._account.positions[asset.index]
        now = utc(at)
        expires_at = max(now, utc(prediction.at) + timedelta(seconds=prediction.horizon_s))
        self._portfolio.holdings[plan.symbol] = Holding(
            position_id=trade_id,
            symbol=plan.symbol,
            side=Side.LONG if plan.is_buy else Side.SHORT,
            size=abs(position.szi),
            entry_price=position.entry_px,
            stop_price=plan.stop_price,
            target_price=plan.target_price,
            topic_id=prediction.topic_id,
            signal_id=trade_id,
            opened_at=now,
            expires_at=expires_at,
            seen=True,
        )
        self._books.opened(self._portfolio.holdings[plan.symbol], asset, opinion.gap_pct, at)
        return None

    def _close(self, symbol: str, reason: str, at: float) -> None:
        asset = self._listed[symbol]
        mark = self._tape.mark(self._tape.universe.assets[asset.index], at)
        request = close_request(self._account.szi(asset.index), mark, asset, self._portfolio.holdings[symbol], reason)
        self._pace.note(1, at)
        self._exchange.place(self._account, [request], "na", at)
        self._settle(at)

    # the account

    def _settle(self, at: float) -> None:
        """Take over what was filled; what is gone becomes a trade."""
        for trade in self._books.take_fills(at):
            del self._portfolio.holdings[trade.symbol]
            if trade.reason in {"stop", "liquidation"}:
                self._portfolio.cooling_until[trade.symbol] = at + self._settings.cooldown_s
            self.run.trades.append(trade)

    def _see_account(self, at: float, now: datetime) -> None:
        account = self._state(at)
        self._portfolio.take(account)
        self._portfolio.count(account.equity_usd, now)
        self._resume(account.equity_usd, at)
        results = self._portfolio.results
        reached = {} if results is None else results.tripped(account.equity_usd, self._settings)
        for name in sorted(reached.keys() - self._trips.keys()):
            self._trips[name] = at
            self.run.tripped.append(Tripped(at, name, reached[name]))

    def _resume(self, equity_usd: Decimal, at: float) -> None:
        hours, results = self._assumptions.resume_after_h, self._portfolio.results
        if hours is None or results is None or not self._trips or at - max(self._trips.values()) < hours * 3600:
            return
        self._trips.clear()
        self._portfolio.results = replace(results, day_start_usd=equity_usd, peak_usd=equity_usd)

    def _state(self, at: float) -> AccountState:
        """Return the account as the exchange would show it."""
        universe, account = self._tape.universe, self._account
        summary = summarize(account, universe, lambda asset: self._tape.mark(asset, at))
        positions = {universe.assets[index].name: self._position(index, at) for index in account.positions}
        free = max(Decimal(0), summary.cross_equity_usd - summary.cross_margin_used_usd)
        return AccountState(summary.equity_usd, free, summary.margin_used_usd, positions, at)

    def _position(self, index: int, at: float) -> PositionState:
        asset, held = self._tape.universe.assets[index], self._account.positions[index]
        mark, leverage = self._tape.mark(asset, at), leverage_of(self._account, asset).value
        return PositionState(
            symbol=asset.name,
            size=held.szi,
            entry_price=held.entry_px,
            position_value_usd=abs(held.szi) * mark,
            unrealized_pnl_usd=held.pnl(mark),
            margin_usd=abs(held.szi) * mark / leverage,
            leverage=leverage,
            liquidation_price=None,
        )

    def _quote(self, symbol: str, at: float) -> Quote:
        asset = self._tape.universe.assets[self._listed[symbol].index]
        mark = self._tape.mark(asset, at)
        return Quote(
            symbol=symbol,
            mark=mark,
            mid=mark,
            oracle=mark,
            funding_rate=self._tape.rate(asset),
            volume_24h_usd=None,
            spread_pct=self._assumptions.spread_bps / 100,
            at=at,
        )

    def _equity_usd(self, at: float) -> Decimal:
        assets = self._tape.universe.assets
        open_usd = (held.pnl(self._tape.mark(assets[index], at)) for index, held in self._account.positions.items())
        return self._account.cash_usd + sum(open_usd, Decimal(0))

    def _note(self, at: float) -> None:
        """Note the equity; of several at one time the last counts."""
        equity_usd = self._equity_usd(at)
        moment = Moment(at, equity_usd, min(self._low_usd, equity_usd))
        if self.run.equity and self.run.equity[-1].at == at:
            low = min(self.run.equity[-1].low_usd, moment.low_usd)
            self.run.equity[-1] = replace(moment, low_usd=low)
        else:
            self.run.equity.append(moment)
        self._low_usd = equity_usd


def _kind_of(reason: str) -> str:
    """Return a refusal without its numbers, so that alike ones can be counted."""
    return " ".join(word for word in reason.split() if not any(character.isdigit() for character in word))
