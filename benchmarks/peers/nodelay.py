"""Sockets that do not wait: what the peers' own settings do not offer, so that they are not measured by Nagle alone."""

import socket


def patch_sockets() -> None:
    """Set TCP_NODELAY on every connection that is opened from now on."""
    create = socket.create_connection

    def at_once(*words: object, **named: object) -> socket.socket:
        connection = create(*words, **named)  # type: ignore[arg-type]  # whatever the caller gives
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    socket.create_connection = at_once
