"""A machine whose first process is the real systemd, with a root and a network of its own."""

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from tests.support.net import until

NSPAWN = shutil.which("systemd-nspawn")
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/root", "SYSTEMD_PAGER": ""}


class Machine:
    """A root folder that is booted, as a context manager.

    Args:
        root: with systemd in it.
        log: what it says on its console.
    """

    def __init__(self, root: Path, log: Path) -> None:
        self._root = root
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._first = 0

    def __enter__(self) -> Self:
        assert NSPAWN is not None
        words = [
            NSPAWN,
            "--quiet",
            "--register=no",
            "--keep-unit",
            "--private-network",
            "--console=pipe",
            "--boot",
            "-D",
        ]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*words, self._root],
                env={"PATH": os.environ["PATH"], "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        pid = self._process.pid
        # nspawn has two children on the way; the one that stays is the machine's first process.
        self._first = until(lambda: self._first_process(pid), f"a machine; it said: {self._log.read_text()}", 30)
        until(
            lambda: self.run("systemctl", "is-system-running").stdout.strip() in {"running", "degraded"}, "it is up", 60
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            os.kill(self._first, signal.SIGKILL)
            self._process.kill()
            self._process.wait(10)

    def run(self, *words: str, environment: Mapping[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
        """Run something in it, as root."""
        given = [f"{name}={value}" for name, value in (_ENVIRONMENT | dict(environment or {})).items()]
        enter = ["nsenter", f"--target={self._first}", "--mount", "--pid", "--net", "--uts", "--ipc"]
        return subprocess.run(
            [*enter, "env", "-i", *given, *words], capture_output=True, text=True, timeout=60, check=False
        )

    def show(self, unit: str, name: str) -> str:
        """Return a property of a unit."""
        return self.run("systemctl", "show", "--value", "-p", name, unit).stdout.strip()

    def _first_process(self, pid: int) -> int | None:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()
        found = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        booted = [each for each in found if Path(f"/proc/{each}/comm").read_text().strip() == "systemd"]
        return booted[0] if booted else None
