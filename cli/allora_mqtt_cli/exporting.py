"""`allora-mqtt export`: records of this machine's bot as a file, with a bar for who watches."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from allora_mqtt.export import RECORDS, CannotExport, Export
from allora_mqtt.export import export as write
from allora_mqtt_cli.errors import CliError, ExitCode
from allora_mqtt_cli.invocation import Invocation
from allora_mqtt_cli.output import Output
from allora_mqtt_cli.times import moment


def export(
    invocation: Invocation,
    record: str,
    form: Literal["csv", "json", "parquet"],
    since: str | None,
    until: str | None,
    out: str,
    *,
    with_raw: bool,
) -> None:
    """Export, and say how much that was.

    Raises:
        CliError: there is no such record, or it could not be exported.
    """
    if record not in RECORDS:
        raise CliError(ExitCode.USAGE, "USAGE", f"There are no {record!r}; there are: {', '.join(RECORDS)}.")
    to_standard_output = out == "-"
    if to_standard_output and form == "parquet" and sys.stdout.isatty():
        raise CliError(ExitCode.USAGE, "USAGE", "Parquet is nothing for a terminal; name a file with --out.")
    now = invocation.now()
    path = None if to_standard_output else Path(out)
    wanted = Export(record, form, moment(since, now), moment(until, now), path, with_raw)
    url = invocation.load().settings.database_url
    try:
        with _bar(invocation.output, record, is_wanted=not to_standard_output) as advance:
            count = write(url, wanted, advance)
    except CannotExport as error:
        raise CliError(ExitCode.FAILED, "CANNOT_EXPORT", str(error)) from error
    except BrokenPipeError:
        # Who reads has seen enough; nothing more can be written there, not even at the end of the process.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    if path is None:
        return
    if invocation.output.as_json:
        invocation.output.document({"record": record, "rows": count, "file": str(path)})
    else:
        invocation.output.say(f"{count:,} {record} written to {path}.", "green")


@contextmanager
def _bar(output: Output, record: str, *, is_wanted: bool) -> Iterator[Callable[[int, int], None]]:
    console = output.console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    is_shown = is_wanted and console.is_terminal and not output.as_json
    with Progress(*columns, console=console, transient=True, disable=not is_shown) as progress:
        task = progress.add_task(record, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
