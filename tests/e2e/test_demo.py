"""`allora-mqtt demo` on a terminal: all of it happens, and nothing is left of it."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.net import until
from tests.support.program import CHECKOUT

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(400),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc"),
]


class Terminal:
    """The tour on a terminal of its own."""

    def __init__(self, folder: Path, *words: str) -> None:
        self._master, slave = pty.openpty()
        self.folder = folder
        environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(folder), "TERM": "xterm",
                       "COLUMNS": "110", "LINES": "50", "LANG": "C.UTF-8", "MQTT_HOST": "not-for-the-tour"}  # fmt: skip
        self.process = subprocess.Popen(
            [CHECKOUT, "demo", *words], cwd=folder, env=environment, stdin=slave, stdout=slave, stderr=slave,
            start_new_session=True,
        )  # fmt: skip
        os.close(slave)
        self._raw = b""

    def read(self) -> str:
        """Take what is there by now, and return all that was said."""
        while select.select([self._master], [], [], 0.05)[0]:
            try:
                part = os.read(self._master, 65_536)
            except OSError:
                break
            if not part:
                break
            self._raw += part
        return self.said()

    def said(self) -> str:
        """Return all that was taken so far, without what moves the cursor and makes colours."""
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self._raw.decode(errors="replace"))

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def expect(self, text: str, timeout_s: float = 90) -> None:
        until(lambda: text in self.read(), text, timeout_s)

    def ends(self, timeout_s: float = 60) -> int:
        """Wait for its end, and show that nothing is left."""
        deadline = time.monotonic() + timeout_s
        while self.process.poll() is None:
            self.read()
            assert time.monotonic() < deadline, self.read()[-2000:]
        self.read()
        os.close(self._master)
        assert list(self.folder.iterdir()) == []
        assert processes_in(self.folder) == []
        return self.process.returncode


def processes_in(folder: Path) -> list[int]:
    """Return the processes that have a folder in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                environment = (entry / "environ").read_bytes()
            except OSError:
                continue
            if f"{folder}/".encode() in environment:
                found.append(int(entry.name))
    return found


def test_all_scenes_by_themselves(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, "--auto")
    terminal.expect("7. kill -9", 120)
    assert len(processes_in(tmp_path)) >= 2
    assert terminal.ends(120) == 0
    said = terminal.said()
    for text in (
        "bot/mode STANDBY",
        "-q 1 -r -t bot/cryptos/set -m BTC,ETH",
        '"status": "EXECUTED"',
        "The exchange has received",
        '"reason": "target"',
        "signals said BUY or SELL; 0 entries reached the exchange",
        '"status": "DUPLICATE"',
        "bot/availability offline",
        "after the kill",
        "At the exchange: 0 positions, 0 orders that rest",
        "closed_pnl_usd",
        "That was all.",
    ):
        assert text in said, text


@pytest.mark.parametrize("end", ["ctrl-c", "terminated"])
def test_it_waits_for_enter_and_can_be_ended_at_any_time(tmp_path: Path, end: str) -> None:
    terminal = Terminal(tmp_path)
    terminal.expect("Enter goes on")
    time.sleep(1)
    assert "2. Which coins" not in terminal.read()
    terminal.type(b"\n")
    terminal.expect("2. Which coins")
    if end == "ctrl-c":
        os.kill(terminal.process.pid, signal.SIGINT)
    else:
        terminal.process.terminate()
    assert terminal.ends() == 130
