"""The real PostgreSQL, as a process on a free port with a data directory of its own."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.support.net import free_port, until

_USER: Final = "postgres"
"""Who runs it where the tests are root's, which PostgreSQL refuses to be."""


def _programs() -> Path | None:
    """Return the folder of the newest installed server's programs."""
    # Debian keeps the programs of each version in a folder of their own, off the path.
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: float(folder.parent.name))
    on_path = shutil.which("initdb")
    return found[-1] if found else None if on_path is None else Path(on_path).parent


def _why_not() -> str | None:
    if _programs() is None:
        return "PostgreSQL is not installed (apt-get install postgresql)"
    if os.geteuid() == 0 and not any(each.pw_name == _USER for each in pwd.getpwall()):
        return f"PostgreSQL does not run as root, and there is no user {_USER}"
    return None


WHY_NOT: Final = _why_not()
"""Why there is no PostgreSQL here; None where there is one."""


@contextmanager
def running_postgres(*settings: str) -> Iterator["Postgres"]:
    """Start a server, or skip the test where there can be none, and remove it afterwards."""
    if WHY_NOT is not None:
        pytest.skip(WHY_NOT)
    server = Postgres(*settings)
    try:
        server.start()
        yield server
    finally:
        server.remove()


class Postgres:
    """A server that anybody on this machine may use with the password, and that keeps what it has committed.

    Args:
        *settings: `name=value`, for the server.
    """

    PASSWORD: Final = "not-to-be-seen-7d1f"  # noqa: S105 - of a server that lives as long as a test

    def __init__(self, *settings: str) -> None:
        self.port = free_port()
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        # Not below pytest's folders, which are closed to all but their owner.
        self._folder = Path(tempfile.mkdtemp(prefix="test-postgres-", dir="/tmp"))
        self._data = self._folder / "data"
        self._log = self._folder / "log"
        self._owner = _USER if os.geteuid() == 0 else None
        if self._owner is not None:
            shutil.chown(self._folder, self._owner)
        secret = self._folder / "password"
        secret.write_text(self.PASSWORD)
        if self._owner is not None:
            shutil.chown(secret, self._owner)
        words = ["-D", str(self._data), "-U", "bot", "--auth=scram-sha-256", f"--pwfile={secret}", "-E", "UTF8", "-N"]
        # Texts are in another order there than on SQLite, unless the bot sees to it.
        words += ["--locale-provider=icu", "--icu-locale=en-US"]
        make = [self._program("initdb"), *words]
        subprocess.run(make, check=True, capture_output=True, timeout=120, user=self._owner)

    def url(self, port: int | None = None) -> str:
        """Return the address of its database, directly or by way of another port."""
        return f"postgresql+psycopg://bot:{self.PASSWORD}@127.0.0.1:{port or self.port}/postgres"

    def start(self) -> None:
        settings = [f"port={self.port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={self._folder}"]
        words = [word for each in [*settings, *self._settings] for word in ("-c", each)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._program("postgres"), "-D", self._data, *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=self._owner,
            )
        until(self._serves, f"PostgreSQL serving; it said {self._log}", 60)

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT throws everybody out and ends in order, SIGQUIT crashes it with all its children."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            self._process.wait(30)

    def remove(self) -> None:
        """End it and remove everything of it."""
        self.stop()
        shutil.rmtree(self._folder)

    def _program(self, name: str) -> str:
        folder = _programs()
        assert folder is not None
        return str(folder / name)

    def _serves(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"PostgreSQL did not start: {self._log.read_text()}"
        words = ["-h", "127.0.0.1", "-p", str(self.port), "-q"]
        return subprocess.run([self._program("pg_isready"), *words], check=False, timeout=10).returncode == 0
