"""Looks at the key that signs orders, at the start and now and then, beside everything else."""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from typing import Final

from allora_mqtt.control.reporter import Reporter
from allora_mqtt.market.hyperliquid import Hyperliquid
from allora_mqtt.market.keys import look_at_key, warnings_of
from allora_mqtt.protocol.errors import BotError
from allora_mqtt.protocol.messages import Info

log = logging.getLogger(__name__)

_AGAIN_S: Final = 6 * 3600.0
_RETRY_S: Final = 60.0


class KeyWatch:
    """Warns in `status` of a key that cannot trade, expires, or can do more than it needs to.

    Args:
        hyperliquid: knows the key.
        signer: the address of the key itself.
        vault: the vault or sub-account to trade for.
        reporter: publishes what is found.
        info: what is published of the bot, to which the account's mode is added.
        clock: the time, with its zone.
    """

    def __init__(
        self,
        hyperliquid: Hyperliquid,
        signer: str,
        vault: str | None,
        reporter: Reporter,
        info: Info,
        clock: Callable[[], datetime],
    ) -> None:
        self._hyperliquid = hyperliquid
        self._signer = signer
        self._vault = vault
        self._reporter = reporter
        self._info = info
        self._clock = clock

    async def run(self) -> None:
        """Watch until cancelled; nothing waits for it."""
        while True:
            try:
                await self._look()
            except BotError as error:
                log.warning("What the key may do is not known yet: %s", error.message)
                await asyncio.sleep(_RETRY_S)
            else:
                await asyncio.sleep(_AGAIN_S)

    async def _look(self) -> None:
        now_s = self._clock().timestamp()
        account = self._hyperliquid.account_address
        standing = await look_at_key(self._hyperliquid, self._signer, account, self._vault, now_s)
        found = warnings_of(standing, now_s)
        for warning in found:
            log.warning("%s: %s", warning.code, warning.message)
        self._reporter.key_warnings = found
        mode = await self._hyperliquid.account_mode()
        self._reporter.publish_info(self._info.model_copy(update={"account_mode": mode}))
        self._reporter.on_market()
