"""The simulated exchange as a process of its own, which outlives the bots that trade on it."""

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any, Self

from tests.support.net import free_port


class Exchange:
    """A simulator on a free port.

    Args:
        folder: where it keeps its accounts and its log.
        seed: of prices and predictions.
        epoch_s: how often there are new predictions.
        module: the program that plays it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        seed: int = 7,
        epoch_s: float = 1,
        speed: float = 1,
        module: str = "allora_mqtt.simulator",
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self._module = module
        self._words = [
            *("--bind", f"127.0.0.1:{self.port}", "--seed", str(seed), "--epoch-s", str(epoch_s)),
            *("--speed", str(speed), "--state", str(folder / "exchange.json"), "--no-rate-limit"),
        ]
        self._log = folder / "exchange.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def settings(self) -> dict[str, str]:
        """What tells a bot to trade here."""
        return {"HL_BASE_URL": f"http://127.0.0.1:{self.port}", "HL_WEIGHT_PER_MINUTE": "1000000"}

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self._module, *self._words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self._process.stdout is not None
        assert self._process.stdout.readline(), f"the simulator did not start: {self._log.read_text()}"

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            assert self._process.stdout is not None
            self._process.stdout.close()

    def arrivals(self, since: int = 0) -> list[dict[str, Any]]:
        """Return what reached `/exchange`, whatever became of it."""
        found: list[dict[str, Any]] = self._ask(f"/sim/log?since={since}")
        return found

    def faults(self, *rules: dict[str, Any]) -> None:
        """Replace the faults."""
        self._ask("/sim/faults", "PUT", list(rules))

    def account(self, address: str) -> Any:
        """Return an account: its clearinghouse state, its resting orders."""
        return self._ask(f"/sim/state?address={address.lower()}")

    def positions(self, address: str) -> dict[str, str]:
        """Return the signed size by coin."""
        held = self.account(address)["clearinghouse"]["assetPositions"]
        return {each["position"]["coin"]: each["position"]["szi"] for each in held}

    def _ask(self, path: str, method: str = "GET", body: Any = None) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", None if body is None else json.dumps(body).encode(), method=method
        )
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - our own URL
            return json.load(answer)


def entries(arrivals: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the requests that would open or add to a position."""
    return [arrival for arrival in arrivals if raises_exposure(arrival["action"])]


def raises_exposure(action: Any) -> bool:
    """Tell whether an action holds an order that is not reduce-only."""
    return (
        isinstance(action, dict) and action.get("type") == "order" and any(not each["r"] for each in action["orders"])
    )
