"""Puts together what signals are made with: strategies, the measure of skill, reviewers."""

import logging
import time
from collections.abc import Callable
from datetime import datetime
from importlib.metadata import entry_points

import aiohttp

from allora_mqtt.market.hyperliquid import Hyperliquid
from allora_mqtt.settings import Network, ReviewerSettings, Settings
from allora_mqtt.store.database import Database
from allora_mqtt.store.ledger import Ledger
from allora_mqtt.store.predictions import PredictionBook
from allora_mqtt.surroundings import CannotStart
from allora_mqtt.trading.review import Panel, Reviewer, Thresholds
from allora_mqtt.trading.signals import Signals
from allora_mqtt.trading.skill_keeper import SkillKeeper
from allora_mqtt.trading.strategy import GROUP, Strategies, installed

log = logging.getLogger(__name__)


def build_signals(
    settings: Settings,
    stored_strategy: str,
    database: Database,
    hyperliquid: Hyperliquid,
    session: aiohttp.ClientSession,
    new_id: Callable[[], str],
    clock: Callable[[], datetime],
) -> Signals:
    """Return what makes signals, as the settings want it.

    Args:
        settings: the configuration.
        stored_strategy: the strategy in force, which a command may have set in an earlier run.
        database: where signals and predictions are stored.
        hyperliquid: for prices of minutes that were missed.
        session: for asking reviewers.
        new_id: returns 32 random hexadecimal digits.
        clock: the time, with its zone.

    Raises:
        CannotStart: `TRADE_STRATEGY` names a strategy that nobody offers.
    """
    book = PredictionBook(database, _prediction_network(settings))
    return Signals(
        Ledger(database),
        _strategies(settings.trade.strategy, stored_strategy),
        SkillKeeper(book, hyperliquid.minute_closes, time.time),
        _panel(settings.reviewer, session),
        settings.allora.max_age_s,
        new_id,
        clock,
    )


def _strategies(configured: str, stored: str) -> Strategies:
    strategies, problems = installed(entry_points(group=GROUP))
    for problem in problems:
        log.error("%s", problem)
    if configured not in strategies:
        message = f"TRADE_STRATEGY: there is no strategy {configured!r}; there are: {', '.join(strategies)}."
        raise CannotStart(message)
    if stored not in strategies:
        log.error("The strategy %r, set by an earlier command, is not installed: no entries until it is.", stored)
    return strategies


def _prediction_network(settings: Settings) -> str:
    """Name where topics come from: the number of a topic means something else elsewhere."""
    return "sim" if settings.bot.network is Network.SIM else settings.allora.chain


def _panel(chosen: ReviewerSettings, session: aiohttp.ClientSession) -> Panel | None:
    count = len(chosen.urls)
    if count == 0:
        return None
    models = chosen.models * count if len(chosen.models) == 1 else chosen.models
    keys = chosen.effective_keys * count if len(chosen.effective_keys) == 1 else chosen.effective_keys
    reviewers = [Reviewer(url, model, key) for url, model, key in zip(chosen.urls, models, keys, strict=True)]
    thresholds = Thresholds(chosen.min_confidence, chosen.max_risk)
    return Panel(reviewers, chosen.quorum or count, thresholds, chosen.timeout_s, session)
