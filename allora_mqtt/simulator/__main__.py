"""`python -m allora_mqtt.simulator`: serves until it is told to stop."""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from allora_mqtt.simulator.server import SimulatorError, SimulatorOptions, serve

_EXIT_CANNOT_START = 2
_STDIN = 0
_STDOUT = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the simulator; returns the exit code."""
    parsed = _parser().parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    host, _, port = parsed.bind.rpartition(":")
    if not host or not port.isdecimal():
        return _fail(f"--bind must be HOST:PORT, not {parsed.bind!r}")
    options = SimulatorOptions(
        host=host,
        port=int(port),
        seed=parsed.seed,
        speed=parsed.speed,
        skill=parsed.skill,
        prices=parsed.prices,
        state_path=parsed.state,
        epoch_s=parsed.epoch_s,
        rate_limit=parsed.rate_limit,
        follow=parsed.follow,
        follow_interval_s=parsed.follow_interval_s,
    )
    try:
        asyncio.run(_run(options, stop_with_stdin=parsed.stop_with_stdin))
    except SimulatorError as error:
        return _fail(str(error))
    return 0


def _fail(message: str) -> int:
    sys.stderr.write(f"simulator: {message}\n")
    return _EXIT_CANNOT_START


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m allora_mqtt.simulator", description=__doc__)
    parser.add_argument("--bind", default="127.0.0.1:0", metavar="HOST:PORT", help="port 0 takes a free one")
    parser.add_argument("--seed", type=int, default=7, help="same seed, same prices and predictions")
    parser.add_argument("--speed", type=_positive, default=1.0, help="market seconds in a wall second")
    parser.add_argument("--skill", type=_share, default=0.6, help="correlation of predicted and true moves, 0 to 1")
    parser.add_argument("--prices", default="random", metavar="random|replay:FILE", help="where prices come from")
    parser.add_argument("--state", type=Path, metavar="FILE", help="keeps accounts and orders over a restart")
    parser.add_argument("--epoch-s", type=_positive, default=15.0, help="seconds until a new inference")
    parser.add_argument(
        "--rate-limit", action=argparse.BooleanOptionalAction, default=True, help="refuse too many requests"
    )
    parser.add_argument(
        "--follow", metavar="URL", help="take assets and prices from a real exchange, which is only read"
    )
    parser.add_argument("--follow-interval-s", type=_positive, default=3.0, help="seconds between two looks at it")
    parser.add_argument("--stop-with-stdin", action="store_true", help="exit when standard input ends")
    return parser


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1_000_000:  # noqa: PLR2004 -- faster than that no float of market time is exact
        raise argparse.ArgumentTypeError("must be above 0 and at most 1000000")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError("must lie between 0 and 1")
    return value


async def _run(options: SimulatorOptions, *, stop_with_stdin: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    simulator = await serve(options)
    try:
        if stop_with_stdin:
            threading.Thread(target=_wait_for_end_of_stdin, args=(loop, stop), daemon=True).start()
        # Unbuffered, and nobody may be there to read it: who started the simulator may have died meanwhile.
        with contextlib.suppress(BrokenPipeError):
            os.write(_STDOUT, json.dumps({"url": simulator.url}).encode() + b"\n")
        await stop.wait()
    finally:
        await simulator.close()


def _wait_for_end_of_stdin(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    # os.read instead of sys.stdin: a daemon thread that holds its lock would disturb the interpreter's end.
    while os.read(_STDIN, 4_096):
        pass
    loop.call_soon_threadsafe(stop.set)


if __name__ == "__main__":
    sys.exit(main())
