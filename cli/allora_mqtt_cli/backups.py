"""`allora-mqtt backup` and `restore`: the books of this machine's bot."""

import sys
from pathlib import Path

import typer

from allora_mqtt import backup
from allora_mqtt_cli.errors import CliError, ExitCode
from allora_mqtt_cli.invocation import Invocation


def back_up(invocation: Invocation, file: Path | None) -> None:
    """Take a backup, and say where it is.

    Raises:
        CliError: none was made.
    """
    try:
        taken = backup.take(invocation.load().settings, file, invocation.now())
    except backup.CannotBackUp as error:
        raise CliError(ExitCode.FAILED, "CANNOT_BACK_UP", str(error)) from error
    if invocation.output.as_json:
        document = {"file": str(taken.path), "bytes": taken.bytes, **taken.manifest.model_dump(mode="json")}
        invocation.output.document(document)
        return
    manifest = taken.manifest
    said = f"{taken.path}: {taken.bytes / 1024:,.0f} KiB, {manifest.network} account {manifest.account}."
    invocation.output.say(said, "green")
    if sys.stdout.isatty():
        invocation.output.note(
            "It holds no keys of a real exchange, and no .env: keep those apart, and this file private."
        )


def restore(invocation: Invocation, file: Path, *, is_sure: bool) -> None:
    """Restore a backup, and say what that means for commands.

    Raises:
        CliError: nothing was restored.
    """
    settings = invocation.load().settings
    question = f"Replace the books in {settings.bot.data_dir}? What is there is kept."
    if not is_sure and sys.stdin.isatty() and not typer.confirm(question, err=True):
        raise CliError(ExitCode.USAGE, "NOT_CONFIRMED", "Nothing was restored.")
    try:
        restored = backup.restore(settings, file, invocation.now())
    except backup.CannotRestore as error:
        raise CliError(ExitCode.FAILED, "CANNOT_RESTORE", str(error)) from error
    manifest = restored.manifest
    if invocation.output.as_json:
        invocation.output.document(
            {
                "restored": str(file),
                "made_at": manifest.made_at,
                "kept": None if restored.kept is None else str(restored.kept),
                "commands_taken_over": restored.taken_over,
                "waiting_files": restored.waiting,
            }
        )
        return
    output = invocation.output
    output.say(f"Restored the books of {manifest.made_at:%Y-%m-%d %H:%M} UTC. The bot starts in STANDBY.", "green")
    if restored.kept is not None:
        output.note(f"What was there is in {restored.kept}.")
    if restored.taken_over is None:
        output.note(
            "Which commands ran since then is not known. What waits in the broker or the spool and would raise risk is "
            "rejected; an id of that time that is sent again would run again."
        )
    else:
        output.note(f"Commands that ran since then stay known ({restored.taken_over} taken over): none runs twice.")
