"""An account seen from the exchange's side, all the time, whatever the bot believes; and a hand that interferes."""

import itertools
import json
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from decimal import Decimal
from types import TracebackType
from typing import Any, Self

from eth_account import Account
from eth_account.signers.local import LocalAccount

from allora_mqtt.market.signing import Signer
from tests.support.exchange import Exchange

_LOOK_S = 0.1
_HAND: LocalAccount = Account.from_key("0x" + "42" * 32)
"""An agent wallet of its own, so that its nonces are not the bot's."""


@dataclass
class Seen:
    """The worst that was seen.

    Attributes:
        exposure_usd: of all positions at their entry prices.
        positions: at one time.
        stopless_s: the longest that a position was without a stop for the whole of it while the bot was alive,
            not counting those whose stop was taken away by hand.
        slowest_look_s: the longest time from one look to the next, which should be a tenth of a second; what the
            machine adds to all times.
        restored_s: how long it took, each time, until a position whose stop was taken away had one again or was gone.
    """

    exposure_usd: Decimal = Decimal(0)
    positions: int = 0
    stopless_s: float = 0.0
    slowest_look_s: float = 0.0
    restored_s: list[float] = field(default_factory=list)


class WatchedAccount:
    """Looks at an account a few times a second.

    Args:
        exchange: where it is.
        address: whose.
    """

    def __init__(self, exchange: Exchange, address: str) -> None:
        self._exchange = exchange
        self._address = address.lower()
        self._stopless_since: dict[str, float] = {}
        self._robbed_at: dict[str, float] = {}
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._nonces = itertools.count(int(time.time() * 1000))
        self._assets = [each["name"] for each in self._ask({"type": "meta"})["universe"]]
        self.is_bot_alive = False
        self.seen = Seen()
        self.fills: dict[tuple[int, int], dict[str, Any]] = {}

    def __enter__(self) -> Self:
        body = {"agent": _HAND.address, "master": self._address}
        self._post("/sim/agents", body)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join(30)

    def state(self) -> Any:
        """Return positions and resting orders, as the simulator itself knows them."""
        return self._exchange.account(self._address)

    def positions(self) -> dict[str, Decimal]:
        """Return the signed size by coin."""
        held = self.state()["clearinghouse"]["assetPositions"]
        return {each["position"]["coin"]: Decimal(each["position"]["szi"]) for each in held}

    def take_fills(self) -> None:
        """Remember what was filled; the exchange does not for ever."""
        found = self._ask({"type": "userFills", "user": self._address})
        self.fills.update({(fill["tid"], fill["oid"]): fill for fill in found})

    def rob(self) -> bool:
        """Take the stops of one position away, as somebody on the exchange's own page would."""
        state = self.state()
        for coin, size in _sizes(state).items():
            stops = _stops(state, coin, size)
            if stops and coin not in self._robbed_at:
                with self._lock:
                    self._robbed_at[coin] = time.monotonic()
                asset = self._assets.index(coin)
                action = {"type": "cancel", "cancels": [{"a": asset, "o": order["oid"]} for order in stops]}
                envelope = Signer(_HAND, None, is_mainnet=False).sign(action, next(self._nonces), None)
                try:
                    self._post("/exchange", json.loads(envelope.to_json()))
                except (OSError, ValueError):
                    # The fault that strikes the bot's actions has struck this one too; it may have been taken.
                    return True
                return True
        return False

    def _watch(self) -> None:
        looks, looked_at = 0, time.monotonic()
        while not self._end.wait(_LOOK_S):
            looks += 1
            now = time.monotonic()
            self.seen.slowest_look_s, looked_at = max(self.seen.slowest_look_s, now - looked_at), now
            try:
                self._look()
                if looks % 50 == 0:
                    self.take_fills()
            except (OSError, ValueError, LookupError):
                # A fault that strikes the bot's queries strikes these too.
                continue

    def _look(self) -> None:
        state = self.state()
        now = time.monotonic()
        held = state["clearinghouse"]["assetPositions"]
        exposure = sum(
            (abs(Decimal(each["position"]["szi"])) * Decimal(each["position"]["entryPx"]) for each in held), Decimal(0)
        )
        self.seen.exposure_usd = max(self.seen.exposure_usd, exposure)
        self.seen.positions = max(self.seen.positions, len(held))
        sizes = _sizes(state)
        bare = {coin for coin, size in sizes.items() if not _is_covered(_stops(state, coin, size), abs(size))}
        with self._lock:
            for coin in [coin for coin, at in self._robbed_at.items() if coin not in bare and now - at > 2 * _LOOK_S]:
                self.seen.restored_s.append(now - self._robbed_at.pop(coin))
        if not self.is_bot_alive:
            self._stopless_since.clear()
        self._stopless_since = {coin: self._stopless_since.get(coin, now) for coin in bare - set(self._robbed_at)}
        longest = max((now - since for since in self._stopless_since.values()), default=0.0)
        self.seen.stopless_s = max(self.seen.stopless_s, longest)

    def _ask(self, query: dict[str, Any]) -> Any:
        return self._post("/info", query)

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._exchange.port}{path}",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - our own URL
            return json.load(answer)


def _sizes(state: Any) -> dict[str, Decimal]:
    held = state["clearinghouse"]["assetPositions"]
    return {each["position"]["coin"]: Decimal(each["position"]["szi"]) for each in held}


def _stops(state: Any, coin: str, size: Decimal) -> list[Any]:
    side = "A" if size > 0 else "B"
    return [
        order
        for order in state["orders"]
        if order["coin"] == coin and order["orderType"].startswith("Stop") and order["side"] == side
    ]


def _is_covered(stops: list[Any], size: Decimal) -> bool:
    return any(stop["isPositionTpsl"] for stop in stops) or sum(Decimal(stop["sz"]) for stop in stops) >= size
