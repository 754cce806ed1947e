"""Ports and waiting."""

import random
import socket
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_BELOW_EPHEMERAL = range(20_000, 32_000)
"""A client that keeps trying a port which the kernel also hands out to clients connects to itself sooner or later."""


def free_port() -> int:
    """Return a port that nobody listens on."""
    while True:
        port = random.choice(_BELOW_EPHEMERAL)  # noqa: S311 - two runs on one machine must not choose the same
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def until(look: Callable[[], T | None], what: str, timeout_s: float = 20) -> T:
    """Look again and again until there is something to see."""
    deadline = time.monotonic() + timeout_s
    while not (found := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not seen in {timeout_s} s: {what}")
        time.sleep(0.02)
    return found
