"""The simulator served inside the test, under a clock the test holds."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import aiohttp

from allora_mqtt.simulator.server import RunningSimulator, SimulatorOptions, serve

KEY = {"x-api-key": "any"}


@dataclass
class HandClock:
    now_s: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Served:
    clock: HandClock
    simulator: RunningSimulator
    session: aiohttp.ClientSession

    async def call(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """Status and body: JSON where it is, text elsewhere."""
        url = f"{self.simulator.url}{path}"
        async with self.session.request(method, url, json=body, headers=headers) as response:
            is_json = response.content_type == "application/json"
            return response.status, await response.json() if is_json else await response.text()

    async def info(self, kind: str, **fields: object) -> tuple[int, Any]:
        return await self.call("POST", "/info", {"type": kind, **fields})

    async def faults(self, *rules: dict[str, object]) -> None:
        status, answer = await self.call("PUT", "/sim/faults", rules)
        assert status == HTTPStatus.OK, answer


@asynccontextmanager
async def served(options: SimulatorOptions | None = None) -> AsyncIterator[Served]:
    clock = HandClock()
    simulator = await serve(options or SimulatorOptions(), clock)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        try:
            yield Served(clock, simulator, session)
        finally:
            await simulator.close()
