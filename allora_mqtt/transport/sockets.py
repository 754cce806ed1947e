"""paho's socket on asyncio's selector: read when there is something to read, written when there is room."""

import asyncio
import threading
from typing import Any

import paho.mqtt.client as paho

from allora_mqtt import tcp


class SocketDriver:
    """Lets an event loop do what paho would otherwise start a thread for.

    Args:
        loop: the running loop; the driver belongs to its thread, while `connect` may be called in another.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._loop_thread = threading.get_ident()

    def drive(self, client: paho.Client) -> None:
        """Take over the socket of a client, now and whenever it opens a new one."""
        client.on_socket_open = self._on_socket_open
        client.on_socket_close = self._on_socket_close
        client.on_socket_register_write = self._on_register_write
        client.on_socket_unregister_write = self._on_unregister_write

    def _on_loop(self, callback: Any, *arguments: Any) -> None:  # noqa: ANN401 - passed through
        if threading.get_ident() == self._loop_thread:
            callback(*arguments)
        else:
            self._loop.call_soon_threadsafe(callback, *arguments)

    def _on_socket_open(self, client: paho.Client, _data: object, connection: Any) -> None:  # noqa: ANN401 - paho's union
        tcp.send_at_once(connection)
        self._on_loop(self._attach, client, connection)

    def _attach(self, client: paho.Client, connection: Any) -> None:  # noqa: ANN401 - paho's union
        if connection.fileno() < 0 or client.socket() is None:
            return
        self._loop.add_reader(connection.fileno(), self._read, client)

    def _read(self, client: paho.Client) -> None:
        client.loop_read()
        # A TLS record may hold more than one packet, of which the selector knows nothing.
        while (connection := client.socket()) is not None and _buffered(connection):
            client.loop_read()
        if connection is not None and connection.fileno() >= 0:
            tcp.acknowledge_at_once(connection)

    def _on_socket_close(self, _client: paho.Client, _data: object, connection: Any) -> None:  # noqa: ANN401 - paho's union
        fileno = connection.fileno()
        if fileno >= 0:
            self._on_loop(self._loop.remove_reader, fileno)
            self._on_loop(self._loop.remove_writer, fileno)

    def _on_register_write(self, client: paho.Client, _data: object, connection: Any) -> None:  # noqa: ANN401 - paho's union
        self._on_loop(self._register_write, client, connection.fileno())

    def _register_write(self, client: paho.Client, fileno: int) -> None:
        if fileno >= 0 and client.socket() is not None:
            self._loop.add_writer(fileno, client.loop_write)

    def _on_unregister_write(self, _client: paho.Client, _data: object, connection: Any) -> None:  # noqa: ANN401 - paho's union
        fileno = connection.fileno()
        if fileno >= 0:
            self._on_loop(self._loop.remove_writer, fileno)


def _buffered(connection: Any) -> bool:  # noqa: ANN401 - paho's union
    """Tell whether TLS, below a websocket or not, has bytes that the selector does not see."""
    return hasattr(connection, "pending") and connection.pending() > 0
