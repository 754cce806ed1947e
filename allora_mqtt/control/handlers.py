"""What each command does."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from pydantic import JsonValue

from allora_mqtt.control import desired as rules
from allora_mqtt.control.accepted import Outcome
from allora_mqtt.control.desired import Desired
from allora_mqtt.control.lookout import Lookout
from allora_mqtt.control.reporter import Reporter
from allora_mqtt.control.views import with_hit_rates
from allora_mqtt.market.catalog import Catalog
from allora_mqtt.protocol import commands
from allora_mqtt.protocol.commands import Body, Mode, SetMode
from allora_mqtt.protocol.errors import BotError, ErrorCode, Rejected, WarningCode
from allora_mqtt.protocol.messages import CatalogMatch, Warn
from allora_mqtt.protocol.runtime import HardLimits, describe
from allora_mqtt.store.books import Books
from allora_mqtt.store.journal import Journal
from allora_mqtt.trading.engine import Engine, Orders

_CATALOG_WAIT_S: Final = 15.0
"""A command that comes while the bot starts waits this long for the catalog."""

_LOOK_AGAIN_S: Final = 0.1

Handler = Callable[[Any, int, Desired], Awaitable[Outcome]]


class BotHandlers:
    """Does what commands ask for.

    Args:
        engine: trades.
        reporter: publishes.
        lookout: knows of a second bot.
        journal: for `history`.
        books: for `trades`, `events` and `performance`.
        hard_limits: bound what `config` may be set to.
        crypto_sets: symbols by the name of their set; may be replaced by `reload_config`.
        on_stop_flatten: whether STOPPED closes the positions.
        reload: reads the configuration again and returns the names of what changed.
        shut_down: ends the process.
        clock: the time, with its zone.
    """

    def __init__(
        self,
        engine: Engine,
        reporter: Reporter,
        lookout: Lookout,
        journal: Journal,
        books: Books,
        hard_limits: HardLimits,
        crypto_sets: Mapping[str, list[str]],
        reload: Callable[[], list[str]],
        shut_down: Callable[[], None],
        clock: Callable[[], datetime],
        *,
        on_stop_flatten: bool,
    ) -> None:
        self._engine = engine
        self._reporter = reporter
        self._lookout = lookout
        self._journal = journal
        self._books = books
        self._hard_limits = hard_limits
        self._reload = reload
        self._shut_down = shut_down
        self._clock = clock
        self._on_stop_flatten = on_stop_flatten
        self.crypto_sets = crypto_sets
        self._handlers: Mapping[type[Body], Handler] = {
            commands.SetMode: self._set_mode,
            commands.SetCryptos: self._set_cryptos,
            commands.SetCrypto: self._set_crypto,
            commands.SetConfig: self._set_config,
            commands.Activate: self._activate,
            commands.ActivateSet: self._activate_set,
            commands.Close: self._close,
            commands.Flatten: self._flatten,
            commands.CancelOrders: self._cancel_orders,
            commands.RefreshCatalog: self._refresh_catalog,
            commands.PublishState: self._publish_state,
            commands.ResetBreaker: self._reset_breaker,
            commands.ReloadConfig: self._reload_config,
            commands.Ping: self._ping,
            commands.History: self._history,
            commands.Trades: self._trades,
            commands.Events: self._events,
            commands.Performance: self._performance,
            commands.SearchCatalog: self._search_catalog,
            commands.Shutdown: self._shutdown,
        }

    async def run(self, body: Body, seq: int, desired: Desired) -> Outcome:
        """Do what a command asks for.

        Raises:
            Rejected: it was not tried.
            BotError: it was tried and failed.
        """
        return await self._handlers[type(body)](body, seq, desired)

    async def prepare(self, body: Body) -> BotError | None:
        """Block entries at once where a command is there to do that.

        Returns:
            `INTERNAL`, when an order was still being handed to a socket after the longest wait.
        """
        blocks = isinstance(body, commands.Flatten) or (isinstance(body, SetMode) and body.value is not Mode.ACTIVE)
        if not blocks or await self._engine.block_entries():
            return None
        message = "No further entry is sent, but one was still on its way to the socket; look at the positions."
        return BotError(ErrorCode.INTERNAL, message)

    def apply(self, old: Desired, new: Desired, *, may_trade: bool, command_seq: int | None = None) -> None:
        """Make engine and dashboards follow what has been stored."""
        self._engine.follow(Orders(new.mode, new.active, new.settings), may_trade=may_trade)
        self._reporter.follow(old, new, command_seq)

    async def _set_mode(self, body: commands.SetMode, seq: int, desired: Desired) -> Outcome:
        warnings: tuple[Warn, ...] = ()
        if body.value is Mode.ACTIVE:
            await self._check_activation()
            if not desired.active:
                message = "No crypto is active, so nothing is traded yet; activate one."
                warnings = (Warn(code=WarningCode.NO_CRYPTOS, message=message),)

        def change(present: Desired) -> Desired:
            return rules.with_mode(present, body.value, reason="command", seq=seq, now=self._clock())

        after = None
        if body.value is Mode.STOPPED:
            after = partial(self._engine.stand_down, flat=self._on_stop_flatten)
        return Outcome({"mode": body.value.value}, warnings, change, after=after)

    async def _check_activation(self) -> None:
        while (stranger := self._lookout.at(self._clock())) is not None:
            if not stranger.is_known_to_live:
                # Somebody has been here; whether it still lives is known in a moment.
                await asyncio.sleep(_LOOK_AGAIN_S)
                continue
            message = "Another bot uses this base topic; stop one of the two, or give it another MQTT_BASE_TOPIC."
            raise Rejected(ErrorCode.DUPLICATE_INSTANCE, message)
        trips = self._engine.reconciler.losses.trips
        if trips:
            what = "; ".join(f"{name}: {trip.reason}" for name, trip in trips.items())
            raise Rejected(ErrorCode.BREAKER_OPEN, f"{what}. Send reset_breaker to go on all the same.")

    async def _set_cryptos(self, body: commands.SetCryptos, _seq: int, desired: Desired) -> Outcome:
        active: dict[str, int] = {}
        if body.value:
            active = rules.whole_set(await self._catalog(), body.value, desired.active)
        return self._switched(desired, active)

    async def _set_crypto(self, body: commands.SetCrypto, _seq: int, desired: Desired) -> Outcome:
        if body.value is commands.Switch.OFF and self._engine.feed.catalog is None:
            name = next((symbol for symbol in desired.active if symbol.upper() == body.symbol.upper()), body.symbol)
            return self._switched(
                desired, {symbol: topic for symbol, topic in desired.active.items() if symbol != name}
            )
        return self._switched(desired, rules.one_switched(await self._catalog(), body, desired.active))

    async def _activate(self, body: commands.Activate, seq: int, desired: Desired) -> Outcome:
        switch = commands.SetCrypto(symbol=body.symbol, value=commands.Switch.ON, topic_id=body.topic_id)
        return await self._set_crypto(switch, seq, desired)

    async def _activate_set(self, body: commands.ActivateSet, _seq: int, desired: Desired) -> Outcome:
        names = self.crypto_sets.get(body.set_name)
        if names is None:
            message = f"There is no set {body.set_name!r}; there are: {', '.join(self.crypto_sets)}."
            raise Rejected(ErrorCode.BAD_VALUE, message)
        active, warnings = rules.named_set(await self._catalog(), names, desired.active)
        return self._switched(desired, active, warnings)

    def _switched(self, desired: Desired, active: dict[str, int], warnings: list[Warn] | None = None) -> Outcome:
        found = list(warnings or [])
        for symbol in set(desired.active) - set(active):
            if symbol in self._engine.portfolio.holdings:
                message = f"{symbol} has a position: no new entry is made, and the position is managed to its end."
                found.append(Warn(code=WarningCode.HAS_POSITION, message=message))
        data: dict[str, JsonValue] = {"active": {symbol: active[symbol] for symbol in sorted(active)}}
        return Outcome(data, tuple(found), lambda present: rules.with_active(present, active))

    async def _set_config(self, body: commands.SetConfig, _seq: int, desired: Desired) -> Outcome:
        settings = desired.settings.changed(body.value, self._hard_limits)
        if settings.strategy not in self._engine.strategies:
            names = ", ".join(self._engine.strategies)
            message = f"There is no strategy {settings.strategy!r}; there are: {names}."
            raise Rejected(ErrorCode.BAD_VALUE, message)
        shown = describe(settings, self._hard_limits)
        data: dict[str, JsonValue] = {key: shown[key].model_dump(mode="json")["value"] for key in body.value}
        return Outcome(data, (), lambda present: replace(present, settings=settings))

    async def _close(self, body: commands.Close, _seq: int, _desired: Desired) -> Outcome:
        symbol = (await self._catalog()).resolve(body.symbol)
        size = await self._engine.close(symbol, "command")
        return Outcome({"symbol": symbol, "closed_size": float(size)})

    async def _flatten(self, _body: commands.Flatten, seq: int, _desired: Desired) -> Outcome:
        def change(present: Desired) -> Desired:
            return rules.with_mode(present, Mode.STANDBY, reason="flatten", seq=seq, now=self._clock())

        mode: dict[str, JsonValue] = {"mode": Mode.STANDBY.value}
        try:
            closed, foreign = await self._engine.flatten("flatten")
        except BotError as error:
            # Entries are blocked already, and stay so, whatever could not be closed.
            return Outcome(mode, (), change, failure=error)
        return Outcome({"closed": [*closed], "left_alone": [*foreign], **mode}, (), change)

    async def _cancel_orders(self, _body: commands.CancelOrders, _seq: int, _desired: Desired) -> Outcome:
        return Outcome({"cancelled": await self._engine.cancel_entries()})

    async def _refresh_catalog(self, _body: commands.RefreshCatalog, _seq: int, _desired: Desired) -> Outcome:
        await self._engine.feed.refresh_catalog()
        return Outcome({"symbols": len((await self._catalog()).symbols())})

    async def _publish_state(self, _body: commands.PublishState, _seq: int, _desired: Desired) -> Outcome:
        self._reporter.publish_everything()
        return Outcome({})

    async def _reset_breaker(self, body: commands.ResetBreaker, _seq: int, _desired: Desired) -> Outcome:
        names: list[JsonValue] = [*(await self._engine.reconciler.losses.reset(body.breaker))]
        names.extend(self._engine.feed.reset_breakers(body.breaker))
        self._reporter.on_market()
        return Outcome({"reset": names})

    async def _reload_config(self, _body: commands.ReloadConfig, _seq: int, _desired: Desired) -> Outcome:
        return Outcome({"changed": [*self._reload()]})

    async def _ping(self, _body: commands.Ping, _seq: int, _desired: Desired) -> Outcome:
        return Outcome({"pong": True})

    async def _history(self, body: commands.History, seq: int, _desired: Desired) -> Outcome:
        return Outcome({"commands": [*(await self._journal.history(body.limit, before=seq))]})

    async def _trades(self, body: commands.Trades, _seq: int, _desired: Desired) -> Outcome:
        symbol, catalog = body.symbol, self._engine.feed.catalog
        if symbol is not None and catalog is not None:
            symbol = catalog.resolve(symbol)
        read = self._books.fills if body.kind == "fills" else self._books.trades
        page = await read(body.limit, symbol, body.since, body.before)
        return Outcome(page.model_dump(mode="json", exclude={"trades", "fills"} - {body.kind}))

    async def _events(self, body: commands.Events, _seq: int, _desired: Desired) -> Outcome:
        page = await self._books.events(body.limit, body.types, body.since, body.before)
        return Outcome(page.model_dump(mode="json"))

    async def _performance(self, body: commands.Performance, _seq: int, _desired: Desired) -> Outcome:
        now = self._clock()
        since = body.since or now - timedelta(days=body.days - 1)
        found = await self._books.performance(since, now)
        whole = with_hit_rates(found, await self._engine.hit_rates(since))
        return Outcome(whole.model_dump(mode="json"))

    async def _search_catalog(self, body: commands.SearchCatalog, _seq: int, desired: Desired) -> Outcome:
        catalog, quotes = await self._catalog(), self._engine.feed.quotes
        found: list[JsonValue] = []
        for symbol, entry in catalog.view().items():
            active = symbol in desired.active
            if (
                body.search.upper() in symbol.upper()
                and body.availability in {"all", entry.availability}
                and body.active in {None, active}
            ):
                quote = quotes.get(symbol)
                match = CatalogMatch(
                    symbol=symbol,
                    active=active,
                    price=None if quote is None else quote.mark,
                    volume_24h=None if quote is None else quote.volume_24h_usd,
                    **dict(entry),
                )
                found.append(match.model_dump(mode="json"))
        return Outcome({"cryptos": found})

    async def _shutdown(self, _body: commands.Shutdown, _seq: int, _desired: Desired) -> Outcome:
        return Outcome({}, after=self._shut_down)

    async def _catalog(self) -> Catalog:
        return await self._engine.catalog(_CATALOG_WAIT_S)
