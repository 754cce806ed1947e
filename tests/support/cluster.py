"""A broker of three nodes: aedes, with Redis between them; `tests/e2e/install_aedes` has put them there."""

import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

from tests.support.net import free_port, until

_CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
ROOT = Path(os.environ.get("AEDES_ROOT", _CACHE / "allora-mqtt" / "aedes"))
REDIS = shutil.which("redis-server")
NODE = shutil.which("node")
_PROGRAM = Path(__file__).parents[1] / "e2e" / "aedes" / "node.mjs"


class Node:
    """One node of the cluster."""

    def __init__(self, folder: Path, name: str, redis_port: int) -> None:
        self.port = free_port()
        self._log = (folder / f"{name}.log").open("ab")
        program: list[str | Path] = [NODE or "node", _PROGRAM, name, str(self.port), str(redis_port)]
        self._process = subprocess.Popen(
            program, env={**os.environ, "AEDES_ROOT": str(ROOT)}, stdout=self._log, stderr=self._log
        )

    def serves(self) -> bool:
        assert self._process.poll() is None, f"a node has ended: {Path(self._log.name).read_text()[-2000:]}"
        return _answers(self.port)

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self._process.poll() is None:
            self._process.send_signal(number)
            self._process.wait(10)
        self._log.close()


class Cluster:
    """Three nodes and a Redis that has everything on its disk before it answers.

    Args:
        folder: for what they keep and say.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        port = free_port()
        settings = ["--appendonly", "yes", "--appendfsync", "always", "--save", "", "--bind", "127.0.0.1"]
        with (folder / "redis.log").open("ab") as log:
            program = [REDIS or "redis-server", "--port", str(port), "--dir", str(folder), *settings]
            self._redis = subprocess.Popen(program, stdout=log, stderr=log)
        until(lambda: _answers(port), "Redis")
        self.nodes = [Node(folder, f"node-{number}", port) for number in (1, 2, 3)]
        for node in self.nodes:
            until(node.serves, "a node of the cluster")

    def end(self) -> None:
        for node in self.nodes:
            node.end()
        self._redis.terminate()
        self._redis.wait(10)


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 0.5):
            return True
    except OSError:
        return False
