"""The real mosquitto, as a process on a free port."""

import getpass
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

from tests.support.net import free_port, until

_SEARCH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
MOSQUITTO = shutil.which("mosquitto", path=_SEARCH)
MOSQUITTO_PUB = shutil.which("mosquitto_pub", path=_SEARCH)
MOSQUITTO_SUB = shutil.which("mosquitto_sub", path=_SEARCH)

_CONNECT = b"\x10\x0c\0\4MQTT\4\2\0\x3c\0\0"
_OURS = """
listener 1883 127.0.0.1
allow_anonymous true
persistence true
persistence_location /var/lib/mosquitto/
autosave_interval 1
autosave_on_changes true
max_queued_messages 0
set_tcp_nodelay true
"""


class Mosquitto:
    """A broker that keeps sessions and retained messages over a restart, a SIGKILL included.

    Args:
        folder: where it keeps them.
        *lines: further lines of its configuration.
        shipped: a configuration to run, on a free port and in that folder; one of our own without.
    """

    def __init__(self, folder: Path, *lines: str, shipped: Path | None = None) -> None:
        self.port = free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o777)
        self._config = folder / "mosquitto.conf"
        text = _OURS if shipped is None else shipped.read_text()
        text = text.replace("listener 1883", f"listener {self.port}").replace("/var/lib/mosquitto/", f"{folder}/")
        # Started by root, mosquitto would become another user, who cannot read the test's folder.
        self._config.write_text("\n".join([text, f"user {getpass.getuser()}", *lines, ""]))

    def start(self) -> None:
        assert MOSQUITTO is not None
        log = (self._folder / "mosquitto.log").open("ab")
        self._process = subprocess.Popen([MOSQUITTO, "-c", str(self._config)], stdout=log, stderr=log)
        log.close()
        until(self._serves, "mosquitto serving", 10)

    @property
    def pid(self) -> int:
        """The process that runs."""
        assert self._process is not None
        return self._process.pid

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            self._process.wait(10)

    def kill(self) -> bytes:
        """SIGKILL it, and return everything that it had on disk by then."""
        self.stop(signal.SIGKILL)
        return self.saved()

    def saved(self) -> bytes:
        """Return everything that it has on disk; what was acknowledged just now comes at the next turn of its loop."""
        kept = self._folder / "mosquitto.db"
        return kept.read_bytes() if kept.exists() else b""

    def _serves(self) -> bool:
        """Whether it answers: it listens a moment before it takes signals, and forgets a SIGTERM of that moment."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), 0.2) as probe:
                probe.sendall(_CONNECT)
                probe.recv(1)
        except OSError:
            return False
        return True
