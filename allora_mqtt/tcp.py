"""Socket options without which one QoS 1 round trip takes 44 to 88 ms instead of a third of one.

Nagle's algorithm holds a small packet back until the peer has acknowledged the one before, and the peer's kernel
delays that acknowledgement by 40 ms. Clients that turn both off are fast even on a broker that does not.
"""

import socket
from typing import Final, Protocol

_QUICKACK: Final[int | None] = getattr(socket, "TCP_QUICKACK", None)
"""Linux only; elsewhere kernels decide for themselves."""


class Connection(Protocol):
    """A TCP socket, or what somebody has wrapped around one."""

    def fileno(self) -> int:
        """Return the socket's descriptor."""


def send_at_once(connection: Connection) -> None:
    """Turn off Nagle's algorithm; to be called once when the connection is open."""
    _turn_on(connection, socket.TCP_NODELAY)
    acknowledge_at_once(connection)


def acknowledge_at_once(connection: Connection) -> None:
    """Turn off delayed acknowledgement; to be called again after each read, because the kernel turns it on again."""
    if _QUICKACK is not None:
        _turn_on(connection, _QUICKACK)


def reachable(host: str) -> str:
    """Return the address at which something is reached from this machine, by the address that it listens on."""
    return {"0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(host, host)  # noqa: S104 - compared with, not listened on


def _turn_on(connection: Connection, option: int) -> None:
    if isinstance(connection, socket.socket):
        connection.setsockopt(socket.IPPROTO_TCP, option, 1)
        return
    # paho keeps the socket of a websocket to itself.
    borrowed = socket.socket(fileno=connection.fileno())
    try:
        borrowed.setsockopt(socket.IPPROTO_TCP, option, 1)
    finally:
        borrowed.detach()
