"""The simulated exchange that comes with the bot: started beside it, ended with it."""

import asyncio
import json
import os
import secrets
import sys
from pathlib import Path
from typing import Final

from allora_mqtt.settings import SimulatorSettings

_START_TIMEOUT_S: Final = 20.0


class SimulatorFailed(Exception):  # noqa: N818 - it names what happened
    """The simulator did not start; the message says why."""


class SimulatorProcess:
    """The simulator in a process of its own, so that its work never holds up a command.

    Args:
        settings: seed, speed, prices, skill and address.
        state_file: where the simulated account outlives a restart.
        follow: a real exchange whose assets and prices take the place of simulated ones.
    """

    def __init__(self, settings: SimulatorSettings, state_file: Path, follow: str | None = None) -> None:
        self._settings = settings
        self._state_file = state_file
        self._follow = follow
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it, without waiting until it is up."""
        settings = self._settings
        arguments = {
            "--bind": settings.bind,
            "--seed": str(settings.seed),
            "--speed": str(settings.speed),
            "--skill": str(settings.skill),
            "--prices": settings.prices,
            "--epoch-s": str(settings.epoch_s),
            "--state": str(self._state_file),
        }
        if self._follow is not None:
            arguments |= {"--follow": self._follow, "--follow-interval-s": str(settings.follow_interval_s)}
        # It sees the end of its standard input when the bot dies, however that happens.
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "allora_mqtt.simulator",
            *(word for pair in arguments.items() for word in pair),
            "--stop-with-stdin",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )

    async def url(self) -> str:
        """Return its URL, once it is up.

        Raises:
            SimulatorFailed: it did not come up.
        """
        if self._process is None or self._process.stdout is None:
            raise RuntimeError("the simulator was not started")
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                line = await self._process.stdout.readline()
        except TimeoutError as error:
            raise SimulatorFailed("The simulator did not start in time.") from error
        if not line:
            raise SimulatorFailed("The simulator did not start; what it said is above.")
        return str(json.loads(line)["url"])

    async def stop(self) -> None:
        """End it."""
        if self._process is None or self._process.returncode is not None:
            return
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            async with asyncio.timeout(5):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


def simulator_key(path: Path) -> str:
    """Return the private key of the simulated account, made at the first start. It is worth nothing anywhere else."""
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        key = f"0x{secrets.token_hex(32)}"
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(key)
        return key
