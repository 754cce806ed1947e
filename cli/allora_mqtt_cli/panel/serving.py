"""The panel in a browser on the same machine, by textual-serve: each page that is opened runs a panel of its own."""

import asyncio
import logging
import shlex
import socket
import sys
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from textual_serve.server import Server

from allora_mqtt.settings import parse_bind
from allora_mqtt_cli import session
from allora_mqtt_cli.errors import CliError, ExitCode
from allora_mqtt_cli.invocation import Invocation
from allora_mqtt_cli.options import connection_words

_LOOPBACK: Final = ("127.0.0.1", "localhost")


def serve(invocation: Invocation, bind: str) -> None:
    """Serve the panel until Ctrl-C.

    Args:
        invocation: the run's shared options; the panels that are served have the same.
        bind: `HOST:PORT` on this machine's loopback.

    Raises:
        CliError: the address cannot be used, or no setting holds the broker's password.
    """
    host, port = _address(bind)
    broker = session.broker_of(invocation, invocation.load().settings)
    words = [sys.executable, "-m", "allora_mqtt_cli", "panel", *connection_words(invocation)]
    if broker.username is not None and broker.password is None:
        message = f"A served panel cannot ask for the password of {broker.username}: set MQTT_PASSWORD_FILE."
        raise CliError(ExitCode.USAGE, "NO_PASSWORD", message)
    server = _PanelServer(shlex.join(words), host, port)
    _check_is_free(host, port)
    url = server.public_url
    invocation.output.say(f"The panel is at {url}; who opens it on this machine can command the bot. Ctrl-C ends it.")
    asyncio.set_event_loop(asyncio.new_event_loop())
    server.serve()


def _address(bind: str) -> tuple[str, int]:
    try:
        host, port = parse_bind(bind)
    except ValueError as error:
        raise CliError(ExitCode.USAGE, "USAGE", f"--serve: {error}.") from error
    if host not in _LOOPBACK:
        message = (
            f"--serve {bind}: the panel knows no passwords, so whoever reaches it can trade with the bot's money. "
            f"It is served at 127.0.0.1 only. From another machine: ssh -L {port}:127.0.0.1:{port} <this machine>, "
            "and open it there; or run `allora-mqtt panel` there with MQTT_HOST and a login of its own."
        )
        raise CliError(ExitCode.USAGE, "NOT_LOOPBACK", message)
    return host, port


def _check_is_free(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            message = f"{host}:{port} cannot be listened on: {error.strerror or error}. Choose another port."
            raise CliError(ExitCode.USAGE, "ADDRESS", message) from error


class _PanelServer(Server):
    """textual-serve's server, for pages that it served itself.

    Without that check any page in the same browser could open the panel's websocket and press its keys.
    """

    def __init__(self, command: str, host: str, port: int) -> None:
        super().__init__(command, host, port, title="allora-mqtt")
        self._pages: set[asyncio.Task[object]] = set()

    def initialize_logging(self) -> None:
        """Log problems only; the library's way would write the values of local variables."""
        logging.basicConfig(level=logging.WARNING, format="%(message)s")

    async def on_startup(self, app: web.Application) -> None:
        """Say nothing: where the panel is has been said."""

    async def on_shutdown(self, app: web.Application) -> None:
        """End the panels of the pages that are still open, and wait for it."""
        del app
        for page in self._pages:
            page.cancel()
        await asyncio.gather(*self._pages, return_exceptions=True)

    async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
        """Run a panel for a page."""
        page = asyncio.current_task()
        assert page is not None  # noqa: S101 - a coroutine runs in a task
        self._pages.add(page)
        try:
            return await super().handle_websocket(request)
        finally:
            self._pages.discard(page)

    async def _make_app(self) -> web.Application:
        app = await super()._make_app()
        app.middlewares.append(_same_origin_only({f"{name}:{self.port}" for name in _LOOPBACK}))
        return app


def _same_origin_only(hosts: set[str]) -> Middleware:
    """Refuse requests by another name (DNS rebinding) and from pages of others; forbid frames (clickjacking)."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        origin = request.headers.get("Origin")
        if request.host not in hosts or (origin is not None and urlsplit(origin).netloc not in hosts):
            raise web.HTTPForbidden(text="The panel is for pages that it served itself.")
        if request.path == "/ws" and origin is None:
            raise web.HTTPForbidden(text="Every browser says where its page is from.")
        response = await handler(request)
        if not response.prepared:
            response.headers["Content-Security-Policy"] = "frame-ancestors 'none'"
        return response

    return check
