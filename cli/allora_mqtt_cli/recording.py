"""`record`: a client like any other that writes down what a bot publishes about prices and predictions."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

from rich.live import Live
from rich.text import Text

from allora_mqtt.protocol.topics import Event, Topics
from allora_mqtt.research.problems import ResearchError
from allora_mqtt.research.record import Counts, Recorder
from allora_mqtt_cli import session
from allora_mqtt_cli.client import Client
from allora_mqtt_cli.errors import CliError, ExitCode
from allora_mqtt_cli.invocation import Invocation
from allora_mqtt_cli.output import Output

_BEAT_S: Final = 0.5
_RECONNECT_S: Final = 2.0


def record(invocation: Invocation, folder: Path, seconds: float | None) -> None:
    """Keep prices and predictions until told to stop, through breaks of the connection too.

    Args:
        invocation: the run's shared options.
        folder: where the files go.
        seconds: end after this long; None for never.

    Raises:
        CliError: the broker cannot be reached at the start, or nothing can be written.
    """
    topics = Topics(invocation.load().settings.mqtt.base_topic)
    ends_at = None if seconds is None else time.monotonic() + seconds
    try:
        with Recorder(folder, topics, time.monotonic) as recorder, _ending_at_a_signal():
            _follow(invocation, topics, recorder, ends_at)
    except ResearchError as error:
        raise CliError(ExitCode.FAILED, error.code, error.message) from error
    counts = recorder.counts
    if invocation.output.as_json:
        document = {"prices": counts.prices, "predictions": counts.predictions, "left_out": counts.left_out}
        invocation.output.document({**document, "folder": str(folder)})
        return
    invocation.output.say(
        f"Kept {counts.prices} prices and {counts.predictions} predictions in {folder}.",
        "green" if counts.prices else "yellow",
    )
    if not counts.prices:
        invocation.output.note("No prices came: is a coin active? `allora-mqtt cryptos on BTC` adds one.")
    if counts.left_out:
        invocation.output.note(f"{counts.left_out} messages were left out: they could not be understood.")


def _follow(invocation: Invocation, topics: Topics, recorder: Recorder, ends_at: float | None) -> None:
    """Write down what comes until it is time to end."""
    has_begun = False
    with _live_line(invocation.output) as show:
        while not _is_over(ends_at):
            try:
                with session.open_client(invocation) as client:
                    has_begun = True
                    for _ in _taken(client, topics, recorder, ends_at):
                        show(recorder.counts)
            except CliError as error:
                if error.exit_code is not ExitCode.NO_ANSWER or not has_begun:
                    raise
                invocation.output.note(f"{error.message} Trying again.")
                time.sleep(_RECONNECT_S)


def _taken(client: Client, topics: Topics, recorder: Recorder, ends_at: float | None) -> Iterator[None]:
    """Take message after message; yields after each, and now and then when none comes."""
    filters = (topics.catalog, topics.crypto("+"), topics.event(Event.SIGNAL))
    for message in client.tail(*filters, beat_s=_BEAT_S):
        if message is not None:
            recorder.take(message.topic, message.payload)
        recorder.sync_when_due()
        yield
        if _is_over(ends_at):
            return


@contextmanager
def _live_line(output: Output) -> Iterator[Callable[[Counts], None]]:
    """Yield what shows the counts: on a terminal a line that changes, elsewhere nothing."""
    console = output.console(stderr=True)
    if not console.is_terminal:
        yield lambda _counts: None
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:

        def show(counts: Counts) -> None:
            line = f"recording: {counts.prices} prices, {counts.predictions} predictions; Ctrl-C ends"
            live.update(Text(line), refresh=True)

        yield show


def _is_over(ends_at: float | None) -> bool:
    return ends_at is not None and time.monotonic() >= ends_at


@contextmanager
def _ending_at_a_signal() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end what is inside, and go on after it."""
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    except KeyboardInterrupt:
        return
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
