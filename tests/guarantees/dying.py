"""The very same bot, in a process that kills itself at the n-th passage of a named step; nothing of it in the product.

The processes are forked from one that has imported everything, so that hundreds of lives fit into minutes.
"""

import functools
import inspect
import itertools
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from allora_mqtt.market.gate import GatedBody, SendGate
from allora_mqtt.market.hyperliquid import Hyperliquid
from allora_mqtt.store.ledger import Ledger
from allora_mqtt.trading.closing import Closer
from allora_mqtt.trading.execution import Executor
from allora_mqtt.trading.reconciler import Reconciler
from allora_mqtt.trading.recovery import Recovery
from allora_mqtt.trading.settlement import Settlement
from allora_mqtt_cli.main import main

STEPS: dict[str, tuple[type, str]] = {
    "signal stored": (Ledger, "add_signal"),
    "announced": (Reconciler, "expect"),
    "nonce kept": (Ledger, "keep_nonce"),
    "leverage set": (Executor, "_set_leverage"),
    "signed": (Hyperliquid, "sign_orders"),
    "rows stored": (Ledger, "add_orders"),
    "gate asked": (SendGate, "enter"),
    "body read": (GatedBody, "read"),
    "posted": (Hyperliquid, "_post"),
    "answer handled": (Hyperliquid, "send"),
    "outcome stored": (Ledger, "update_orders"),
    "opened": (Reconciler, "opened"),
    "dropped": (Reconciler, "dropped"),
    "position stored": (Ledger, "put_position"),
    "account read": (Reconciler, "refresh"),
    "fills stored": (Ledger, "add_fills"),
    "settled": (Settlement, "settle"),
    "position closed": (Ledger, "close_position"),
    "cancelled": (Hyperliquid, "sign_cancels"),
    "protected": (Closer, "protect"),
    "stop sent": (Executor, "protect"),
    "closing": (Closer, "close"),
    "close sent": (Executor, "close"),
    "resolved": (Reconciler, "resolve"),
    "looked up": (Recovery, "follow"),
    "found": (Recovery, "_found"),
    "pressed": (Recovery, "_press"),
    "sent again": (Executor, "send_again"),
    "voided": (Executor, "void"),
    "finished": (Recovery, "finish"),
}
"""Every step of an order's life, and of the recovery after it."""

POINTS = [f"{step}/{when}" for step in STEPS for when in ("before", "after")]


def arm(point: str, passage: int, end: signal.Signals = signal.SIGKILL) -> None:
    """See to it that this process dies, or freezes, at the n-th passage of a point."""
    step, _, when = point.rpartition("/")
    owner, name = STEPS[step]
    count = itertools.count(1)

    def pass_by() -> None:
        if next(count) == passage:
            os.kill(os.getpid(), end)

    setattr(owner, name, _wrapped(getattr(owner, name), pass_by, is_before=when == "before"))


def _wrapped(work: Callable[..., Any], pass_by: Callable[[], None], *, is_before: bool) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(work):

        @functools.wraps(work)
        async def step(*arguments: Any, **named: Any) -> Any:
            if is_before:
                pass_by()
            try:
                return await work(*arguments, **named)
            finally:
                if not is_before:
                    pass_by()

        return step

    @functools.wraps(work)
    def plain_step(*arguments: Any, **named: Any) -> Any:
        if is_before:
            pass_by()
        try:
            return work(*arguments, **named)
        finally:
            if not is_before:
                pass_by()

    return plain_step


PROCESSES: Final = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__, "allora_mqtt.bot"])


def live(folder: Path, environment: dict[str, str], log: Path, dies_at: str | None) -> None:
    """Be the bot, as its command starts it.

    Args:
        folder: the current folder.
        environment: all of it.
        log: takes what it says.
        dies_at: the point, a colon, and at which passage of it; None to live on.
    """
    with log.open("ab") as said:
        os.dup2(said.fileno(), sys.stdout.fileno())
        os.dup2(said.fileno(), sys.stderr.fileno())
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    if dies_at is not None:
        point, _, passage = dies_at.rpartition(":")
        arm(point, int(passage))
    sys.exit(main(["run"]))
