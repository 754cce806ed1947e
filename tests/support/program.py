"""The program as a user has it: the `allora-mqtt` command in some environment, and the bot it starts."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

from tests.support.net import free_port

CHECKOUT = Path(sys.executable).parent / "allora-mqtt"


class Bot:
    """The bot, started by its command, on the simulator and with a data folder of its own.

    Args:
        program: the `allora-mqtt` to start.
        folder: the current folder and the home of its data.
        mqtt: settings that say which broker; none for the embedded one on a free port.
        settings: further settings.
    """

    def __init__(self, program: Path, folder: Path, mqtt: dict[str, str] | None = None, **settings: str) -> None:
        self.program = program
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.broker_port = int(mqtt["MQTT_PORT"]) if mqtt else free_port()
        self.simulator_port = free_port()
        where = mqtt or {"EMBEDDED_BROKER_BIND": f"127.0.0.1:{self.broker_port}"}
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "COLUMNS": "120",
            "PYTHONFAULTHANDLER": "1",
            "BOT_DATA_DIR": str(folder / "data"),
            "BOT_HEARTBEAT_INTERVAL_S": "0.5",
            "BOT_QUOTE_INTERVAL_S": "0.5",
            "SIM_BIND": f"127.0.0.1:{self.simulator_port}",
            **where,
            **settings,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self.log = folder / "bot.log"

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [self.program, "run"],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def pid(self) -> int:
        """The process that runs."""
        assert self._process is not None
        return self._process.pid

    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(10)

    def stop(self) -> int:
        """End it as a service manager would, and return its exit code."""
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(20)
        except subprocess.TimeoutExpired as hanging:
            # PYTHONFAULTHANDLER makes it say where it hangs.
            self._process.send_signal(signal.SIGABRT)
            self._process.wait(10)
            raise AssertionError(f"the bot does not end; it said: {self.log.read_text()[-8000:]}") from hanging

    def wait(self, timeout_s: float) -> int:
        assert self._process is not None
        return self._process.wait(timeout_s)

    def cli(self, *words: str, timeout_s: float = 30) -> subprocess.CompletedProcess[str]:
        """Run the CLI beside the bot, with the same settings."""
        return subprocess.run(
            [self.program, *words],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def cli_json(self, *words: str) -> Any:
        done = self.cli(*words, "--json")
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return json.loads(done.stdout)

    def cli_json_lines(self, *words: str) -> list[Any]:
        done = self.cli(*words, "--json")
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return [json.loads(line) for line in done.stdout.splitlines()]

    def exchange_log(self) -> list[dict[str, Any]]:
        """Return every request that arrived at the simulated exchange since it started."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.simulator_port}/sim/log?since=0", timeout=5) as answer:
            log: list[dict[str, Any]] = json.load(answer)
            return log

    def entries(self) -> list[dict[str, Any]]:
        """Return the requests that would open or add to a position."""
        return [
            request
            for request in self.exchange_log()
            if request["action"]["type"] == "order" and any(not order["r"] for order in request["action"]["orders"])
        ]
