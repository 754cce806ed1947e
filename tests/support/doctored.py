"""Stands before the simulated exchange and answers some of its queries otherwise: what it cannot be made to be."""

import json
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class Doctored:
    """An exchange of which some answers are made up.

    Args:
        port: where the simulator listens, for everything else.
    """

    def __init__(self, port: int) -> None:
        self.answers: dict[str, Any] = {}
        """By the type of a query to `/info`."""
        self.refusals: list[tuple[int, bytes]] = []
        """What orders are answered with, one after another; the last one stays."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                kind = json.loads(body).get("type")
                if kind in outer.answers:
                    self._say(200, json.dumps(outer.answers[kind]).encode())
                    return
                if self.path == "/exchange" and outer.refusals:
                    self._say(*(outer.refusals.pop(0) if len(outer.refusals) > 1 else outer.refusals[0]))
                    return
                request = urllib.request.Request(f"http://127.0.0.1:{port}{self.path}", body)
                request.add_header("Content-Type", "application/json")
                with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - our own URL
                    self._say(answer.status, answer.read())

            def log_message(self, *_: Any) -> None: ...

            def _say(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)
