"""A service manager's end of sd_notify(3): the socket that a service sends its datagrams to."""

import socket
from pathlib import Path
from typing import Self

from tests.support.net import until


class Listening:
    """Listens on a socket in a folder, or with an abstract name, and remembers each assignment."""

    def __init__(self, address: Path | str) -> None:
        self.address = str(address)
        self.said: list[tuple[str, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{self.address[1:]}" if self.address.startswith("@") else self.address)
        self._socket.setblocking(False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def all(self, name: str) -> list[str]:
        """Return every value of a name so far."""
        self._receive()
        return [value for said, value in self.said if said == name]

    def wait(self, name: str, value: str, timeout_s: float = 20) -> None:
        until(lambda: value in self.all(name), f"{name}={value} among {self.said[-20:]}", timeout_s)

    def forget(self) -> None:
        self._receive()
        self.said.clear()

    def _receive(self) -> None:
        while True:
            try:
                datagram = self._socket.recv(65_536)
            except BlockingIOError:
                return
            for line in datagram.decode().splitlines():
                name, _, value = line.partition("=")
                self.said.append((name, value))
