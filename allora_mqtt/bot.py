"""Runs the bot: what it stands on first, and all of it taken apart in order at the end."""

import asyncio
import logging
import os
import sys
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, Final

import aiohttp

from allora_mqtt import logs
from allora_mqtt.assembly import Bot, assemble, until_told_to_end, utc_now
from allora_mqtt.configuration import Loaded
from allora_mqtt.service_manager import Condition, ServiceManager
from allora_mqtt.settings import Settings, parse_bind
from allora_mqtt.simulator_process import SimulatorFailed, SimulatorProcess
from allora_mqtt.store.lease import Lease, LeaseLost
from allora_mqtt.surroundings import (
    CannotStart,
    broker,
    find_exchange,
    keep_books_apart,
    lease_of,
    only_bot_in,
    only_bot_on,
    open_database,
    outlast_another_key,
    simulator,
    user_locks,
)
from allora_mqtt.transport.connection import Endpoint
from allora_mqtt.transport.embedded_broker import BrokerUnusable

log = logging.getLogger(__name__)

_EXIT_CANNOT_START: Final = 2


def run(loaded: Loaded) -> int:
    """Run the bot until it is told to end.

    Returns:
        The process's exit code: 0 after an orderly end, 2 when it could not start.
    """
    # What the bot writes is for its own user: books, backups, and what it obeys in the spool.
    os.umask(0o077)
    logs.configure(loaded.settings.bot.log_format, loaded.settings.bot.log_level)
    for warning in loaded.warnings:
        log.warning("%s", warning)
    try:
        asyncio.run(_run(loaded))
    except (CannotStart, BrokerUnusable, SimulatorFailed) as error:
        sys.stderr.write(f"{error}\n")
        return _EXIT_CANNOT_START
    return 0


def run_broker(loaded: Loaded) -> int:
    """Run the embedded broker alone until interrupted.

    Returns:
        The process's exit code.
    """
    logs.configure(loaded.settings.bot.log_format, loaded.settings.bot.log_level)

    async def serve() -> None:
        async with broker(loaded.settings) as endpoint:
            sys.stdout.write(f"MQTT 3.1.1 broker on {endpoint}; Ctrl-C ends it, and what it holds with it.\n")
            sys.stdout.flush()
            await until_told_to_end(asyncio.Event())

    try:
        asyncio.run(serve())
    except BrokerUnusable as error:
        sys.stderr.write(f"{error}\n")
        return _EXIT_CANNOT_START
    return 0


async def _run(loaded: Loaded) -> None:
    settings, manager = loaded.settings, ServiceManager.of(os.environ, os.getpid())
    async with AsyncExitStack() as stack:
        stack.callback(asyncio.create_task(manager.run(), name="service manager").cancel)
        stack.enter_context(only_bot_in(settings.bot.data_dir))
        while await _live(loaded, manager):
            if not settings.bot.pair:
                raise CannotStart(
                    "Another bot has taken over this one's database, which must not be; stop one of them."
                )
            log.warning("The other bot of the pair has taken over; this one stands by")


async def _live(loaded: Loaded, manager: ServiceManager) -> bool:
    """Run until the bot is told to end, or another bot takes its place; tell whether one has."""
    settings = loaded.settings
    async with AsyncExitStack() as stack:
        # The simulator comes up while the rest does.
        process = await stack.enter_async_context(simulator(settings))
        endpoint = await stack.enter_async_context(broker(settings))
        if settings.bot.pair:
            manager.look = _stands_by
        taking = asyncio.create_task(stack.enter_async_context(lease_of(settings)), name="taking the lease")
        if not await _unless_told_to_end(taking):
            return False
        lease = taking.result()
        trading = _trade(loaded, process, endpoint, lease, manager)
        if lease is None:
            await trading
            return False
        return await _as_long_as(lease, trading)


async def _as_long_as(lease: Lease, trading: Coroutine[Any, Any, None]) -> bool:
    """Keep the lease while the bot trades; tell whether another bot has taken it, which ends the trading."""
    keeping = asyncio.create_task(lease.keep(), name="lease")
    working = asyncio.create_task(trading, name="bot")
    is_replaced = False
    try:
        await asyncio.wait({keeping, working}, return_when=asyncio.FIRST_COMPLETED)
        # A write may have learned of it before.
        await (working if working.done() else keeping)
    except* LeaseLost:
        is_replaced = True
    finally:
        for task in (working, keeping):
            task.cancel()
            await asyncio.wait({task})
    return is_replaced


async def _trade(
    loaded: Loaded,
    process: SimulatorProcess | None,
    endpoint: Endpoint,
    lease: Lease | None,
    manager: ServiceManager,
) -> None:
    """Run as the only bot on its database, its data folder and its account."""
    settings = loaded.settings
    async with AsyncExitStack() as stack:
        database = await open_database(settings, lease)
        stack.push_async_callback(database.close)
        exchange = await find_exchange(settings, process)
        await keep_books_apart(settings, exchange.traded_account, database)
        if lease is not None:
            await outlast_another_key(exchange.wallet.address, database)
        stack.enter_context(
            only_bot_on(exchange.traded_account, exchange.hyperliquid_url, user_locks(), is_pair=settings.bot.pair)
        )
        session = await stack.enter_async_context(aiohttp.ClientSession())
        bot = await assemble(loaded, exchange, endpoint, database, session, lease)
        stack.push_async_callback(bot.hyperliquid.close)
        if bot.log_topics is not None:
            stack.enter_context(logs.also(bot.log_topics))
        if settings.bot.metrics_bind is not None:
            await stack.enter_async_context(_metrics(settings, settings.bot.metrics_bind, bot))
        await bot.run(manager)


async def _unless_told_to_end(waiting: asyncio.Task[Any]) -> bool:
    """Wait for something; give it up and return False when the bot is told to end before."""
    told = asyncio.create_task(until_told_to_end(asyncio.Event()))
    try:
        await asyncio.wait({waiting, told}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        is_done = waiting.done()
        for task in (told, waiting):
            task.cancel()
        await asyncio.wait({told, waiting})
    return is_done


def _stands_by() -> Condition:
    """Return how a bot of a pair is that has not got the lease yet: as it should be."""
    return Condition(is_ready=True, is_alive=True, said="standing by for the other bot of the pair")


def _metrics(settings: Settings, bind: str, bot: Bot) -> AbstractAsyncContextManager[None]:
    """Return what serves metrics; without the setting nothing of it is even imported."""
    from allora_mqtt.monitoring.listener import Listener, Watched  # noqa: PLC0415 - as said above

    host, port = parse_bind(bind)
    watched = Watched(
        bot.reporter,
        bot.engine,
        bot.inbox,
        bot.dispatcher,
        bot.outbox,
        bot.database,
        settings.bot.effective_database_url,
        settings.bot.data_dir,
        bot.link,
        utc_now,
    )
    return Listener(watched).serving(host, port)
