"""What the tour plays on: a broker, a simulated exchange and a bot, each a process of its own in a temporary folder."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType, TracebackType
from typing import Any, Final, Self

from allora_mqtt_cli.errors import CliError, ExitCode

_PASSED_ON: Final = ("PATH", "LANG", "LC_ALL", "PYTHONPATH", "VIRTUAL_ENV", "SYSTEMROOT")
"""All of the environment that the tour's processes see: no setting of the user's own bot is among it."""
_SETTINGS: Final[Mapping[str, str]] = {
    "BOT_NETWORK": "sim",
    "BOT_HEARTBEAT_INTERVAL_S": "1",
    "BOT_QUOTE_INTERVAL_S": "0.5",
    "BOT_RECONCILE_INTERVAL_S": "2",
    "SIM_EPOCH_S": "2",
    "TRADE_PRICE_GAP_PCT": "0.02",
    "MQTT_DISCOVERY": "false",
}
_START_S: Final = 40
_END_S: Final = 10


class Stage:
    """The processes, as a context manager; at its end none of them and no file is left."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._bot: subprocess.Popen[bytes] | None = None
        self._environment: dict[str, str] = {}
        self.folder = Path()
        self.port = 0
        """The broker's, on this machine."""
        self.exchange_url = ""

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(_signals_interrupt())
            self.folder = Path(stack.enter_context(TemporaryDirectory(prefix="allora-mqtt-demo-")))
            self.port = _free_port()
            passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
            home = {name: str(self.folder) for name in ("HOME", "XDG_RUNTIME_DIR", "TMPDIR", "BOT_DATA_DIR")}
            self._environment = {
                **passed_on,
                **home,
                **_SETTINGS,
                "EMBEDDED_BROKER_BIND": f"127.0.0.1:{self.port}",
            }
            self._start(stack, "broker")
            exchange = self._start(stack, "sim", f"--state={self.folder / 'exchange.json'}")
            self.exchange_url = self._url_from(exchange)
            self._environment |= {
                "MQTT_HOST": "127.0.0.1",
                "MQTT_PORT": str(self.port),
                "MQTT_PROTOCOL": "3.1.1",
                "HL_BASE_URL": self.exchange_url,
            }
            self._await_broker()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def bot_pid(self) -> int | None:
        """The bot's process."""
        return None if self._bot is None else self._bot.pid

    def start_bot(self) -> None:
        """Start the bot; it is ended with the stage."""
        self._bot = self._start(self._stack, "run")

    def kill_bot(self) -> None:
        """SIGKILL, as a power cut would end it."""
        if self._bot is not None:
            self._bot.kill()
            self._bot.wait(_END_S)

    def ask_exchange(self, path: str, body: Mapping[str, Any] | None = None) -> Any:  # noqa: ANN401 - any JSON value
        """Ask the simulated exchange something, or tell it."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310 - our own simulator
            f"{self.exchange_url}{path}", data, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=_END_S) as answer:  # noqa: S310 - as above
            return json.load(answer)

    def _start(self, stack: ExitStack, *words: str) -> "subprocess.Popen[bytes]":
        with (self.folder / f"{words[0]}.log").open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 - this program itself
                [sys.executable, "-m", "allora_mqtt_cli", *words],
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if words[0] == "sim" else log,
                stderr=log,
                # Ctrl-C is for the tour, which ends them in order.
                start_new_session=True,
            )
        stack.callback(_end, process)
        return process

    def _url_from(self, exchange: "subprocess.Popen[bytes]") -> str:
        line = b"" if exchange.stdout is None else exchange.stdout.readline()
        try:
            return str(json.loads(line)["url"])
        except (ValueError, KeyError) as error:
            raise self._failed("sim", "the simulated exchange did not start") from error

    def _await_broker(self) -> None:
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1):
                    return
            except OSError:
                time.sleep(0.05)
        raise self._failed("broker", "the broker did not start")

    def _failed(self, name: str, what: str) -> CliError:
        said = (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")[-2000:]
        return CliError(ExitCode.FAILED, "DEMO_FAILED", f"The tour cannot go on: {what}. It said:\n{said}")


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_END_S)
    if process.stdout is not None:
        process.stdout.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Have a SIGTERM and a closed terminal end the tour in order, as Ctrl-C does."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
