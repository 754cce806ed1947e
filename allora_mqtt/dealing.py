"""Puts together what trades: the exchange, the source of predictions and the engine between them."""

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import aiohttp

from allora_mqtt.market.allora import AlloraClient
from allora_mqtt.market.allora_chain import AlloraChain, AlloraWithChain
from allora_mqtt.market.catalog import parse_configured_topics
from allora_mqtt.market.gate import SendGate
from allora_mqtt.market.hyperliquid import Hyperliquid
from allora_mqtt.market.nonces import NonceSource
from allora_mqtt.settings import Settings
from allora_mqtt.store.ledger import Ledger
from allora_mqtt.surroundings import CannotStart, Exchange
from allora_mqtt.trading.engine import Engine, Orders
from allora_mqtt.trading.execution import Executor
from allora_mqtt.trading.feed import Feed, PredictionSource
from allora_mqtt.trading.observer import Observer
from allora_mqtt.trading.portfolio import Portfolio
from allora_mqtt.trading.reconciler import Reconciler
from allora_mqtt.trading.signals import Signals


def build_hyperliquid(
    settings: Settings, exchange: Exchange, is_in_charge: Callable[[], bool] | None = None
) -> Hyperliquid:
    """Return the exchange; nothing is asked of it yet."""
    return Hyperliquid(
        base_url=exchange.hyperliquid_url,
        timeout_s=settings.hl.timeout_s,
        account_address=exchange.account_address,
        wallet=exchange.wallet,
        vault_address=exchange.vault_address,
        clock=time.time,
        weight_per_minute=settings.hl.weight_per_minute,
        is_in_charge=is_in_charge,
    )


async def build_engine(
    settings: Settings,
    exchange: Exchange,
    hyperliquid: Hyperliquid,
    ledger: Ledger,
    session: aiohttp.ClientSession,
    orders: Orders,
    state: Mapping[str, Any],
    observer: Observer,
    thoughts: Signals,
    new_id: Callable[[], str],
    clock: Callable[[], datetime],
) -> Engine:
    """Return what trades, with what an earlier run left.

    Args:
        settings: the configuration.
        exchange: where the exchange and the predictions are.
        hyperliquid: the exchange.
        ledger: the books.
        session: for asking for predictions.
        orders: what the bot has been told.
        state: the store's `state` table.
        observer: told what happens.
        thoughts: strategy, gates, reviewers and the record of what they say.
        new_id: returns 32 random hexadecimal digits.
        clock: the time, with its zone.

    Raises:
        CannotStart: the settings name no source of predictions, or topics that cannot be read.
    """
    try:
        configured = parse_configured_topics(settings.allora.topics)
    except ValueError as error:
        raise CannotStart(f"ALLORA_TOPICS: {error}") from error
    feed = Feed(
        hyperliquid,
        _predictions(settings, exchange, session),
        configured,
        settings.bot.quote_interval_s,
        time.time,
        requests_per_minute=settings.allora.requests_per_minute,
    )
    gate, portfolio = SendGate(), Portfolio()
    nonces = NonceSource(lambda: int(hyperliquid.now_s() * 1000), await ledger.highest_nonce())
    executor = Executor(hyperliquid, ledger, gate, nonces, new_id, clock, observer)
    reconciler = Reconciler(
        hyperliquid,
        ledger,
        portfolio,
        executor,
        orders.settings,
        settings.bot.reconcile_interval_s,
        clock,
        observer,
    )
    await reconciler.load(state)
    return Engine(
        feed,
        executor,
        portfolio,
        reconciler,
        thoughts,
        gate,
        orders,
        settings.bot.standby_exits,
        clock,
        observer,
        adopts=settings.bot.adopt_positions,
    )


def _predictions(settings: Settings, exchange: Exchange, session: aiohttp.ClientSession) -> PredictionSource:
    """Return where predictions are read: the API, the chain where `ALLORA_CHAIN_URL` is set, or both."""
    chosen = settings.allora
    api = None
    if exchange.api_key is not None:
        key = exchange.api_key.get_secret_value()
        api = AlloraClient(exchange.allora_url, key, chosen.chain, chosen.timeout_s, session)
    if chosen.chain_url is not None:
        chain = AlloraChain(chosen.chain_url, chosen.chain, chosen.timeout_s, session)
        return AlloraWithChain(api, chain, time.monotonic)
    if api is None:
        raise CannotStart("There is neither ALLORA_API_KEY nor ALLORA_CHAIN_URL; set one of them.")
    return api
