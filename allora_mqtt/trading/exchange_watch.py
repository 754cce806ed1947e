"""What is asked of the exchange for its own sake: whether it takes orders again, and how many it still will."""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from typing import Final

from allora_mqtt.market.hyperliquid import Hyperliquid
from allora_mqtt.protocol.errors import BotError
from allora_mqtt.trading.execution import Executor

log = logging.getLogger(__name__)

_LOOK_S: Final = 0.5


class ExchangeWatch:
    """Probes the exchange while its breaker is open, and keeps count of the account's actions.

    Args:
        hyperliquid: the exchange.
        executor: sends the probe, which does nothing.
        clock: the time, with its zone.
    """

    def __init__(self, hyperliquid: Hyperliquid, executor: Executor, clock: Callable[[], datetime]) -> None:
        self._hyperliquid = hyperliquid
        self._executor = executor
        self._clock = clock

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            try:
                await self._look()
            except BotError as error:
                log.debug("The exchange was asked in vain: %s", error.message)
            await asyncio.sleep(_LOOK_S)

    async def _look(self) -> None:
        now_s = self._clock().timestamp()
        health = self._hyperliquid.exchange_health
        if health.is_open and health.admits(now_s):
            try:
                await self._executor.probe()
            finally:
                health.give_back()
        if not self._hyperliquid.info_health.is_open and self._hyperliquid.may_ask_limits():
            await self._hyperliquid.learn_limits()
