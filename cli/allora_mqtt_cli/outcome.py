"""What a bot's answer, or its silence, means: one sentence for people, an exit code for scripts."""

import json
from collections.abc import Mapping
from typing import Final

from pydantic import JsonValue

from allora_mqtt.protocol.commands import Envelope
from allora_mqtt.protocol.messages import Availability, Response, Status
from allora_mqtt_cli.client import Reply
from allora_mqtt_cli.errors import CliError, ExitCode

_EXIT_CODES: Final = {
    Status.EXECUTED: ExitCode.DONE,
    Status.REJECTED: ExitCode.REJECTED,
    Status.EXPIRED: ExitCode.REJECTED,
    Status.SUPERSEDED: ExitCode.REJECTED,
    Status.FAILED: ExitCode.FAILED,
}

_WITHOUT_ERROR: Final = {
    Status.REJECTED: "The bot refused the command and gave no reason.",
    Status.EXPIRED: "The command came after its time and was not run. Send it again.",
    Status.SUPERSEDED: "A newer command for the same thing came before this one ran; that one holds.",
    Status.FAILED: "The command failed and the bot gave no reason; its log says more.",
    Status.DUPLICATE: "The bot had seen this command before; how it ended then is not known.",
}

_MAX_DEPTH: Final = 2
_MAX_ITEMS: Final = 12
_LONGEST_SAID: Final = 60


def exit_code(response: Response) -> ExitCode:
    """Return the exit code for an answer; a duplicate ends as the first one did."""
    return _EXIT_CODES.get(_final_status(response), ExitCode.FAILED)


def problem(response: Response) -> CliError | None:
    """Return the error for an answer other than EXECUTED, or None."""
    code = exit_code(response)
    if code is ExitCode.DONE:
        return None
    status = _final_status(response)
    details = response.model_dump(mode="json")
    if response.error is not None:
        return CliError(code, response.error.code, response.error.message, details)
    return CliError(code, status, _WITHOUT_ERROR.get(status, ""), details)


def sentence(response: Response) -> str:
    """Say that a command was executed, how long it took, and what is in force now."""
    first = " before" if response.status is Status.DUPLICATE else ""
    said = describe({} if first else response.data)
    return f"Executed{first} in {response.duration_ms:.1f} ms{': ' if said else ''}{said}."


def no_answer(reply: Reply, timeout_s: float) -> CliError:
    """Return the error for a command that the broker took and nobody answered."""
    if reply.availability is Availability.ONLINE:
        happened = f"The bot is online and has not answered within {timeout_s:g} s"
        later = "The broker has the command; `allora-mqtt history` shows what becomes of it, --timeout waits longer."
        code = "NO_ANSWER"
    else:
        offline = reply.availability is Availability.OFFLINE
        happened = "The bot is offline" if offline else "No bot has been seen on this base topic"
        later = _waits(reply)
        code = "BOT_OFFLINE" if offline else "NO_BOT"
    details = {"topic": reply.topic, "retained": reply.retained}
    return CliError(ExitCode.NO_ANSWER, code, f"{happened}. {later}", details)


def _waits(reply: Reply) -> str:
    if reply.retained:
        return "The command waits in the broker and runs when the bot comes back."
    if reply.has_subscriber is False:
        return "Nobody holds a session for its commands, so this one is gone: send it again when the bot is online."
    if reply.has_subscriber:
        return "The command waits in a session on the broker (QoS 1), and runs when the bot comes back."
    return "The command was sent with QoS 1: if the bot has a session on the broker, it waits there."


def describe(value: JsonValue | Mapping[str, JsonValue], depth: int = 0) -> str:
    """Write data as words: `mode ACTIVE, active (BTC 14, ETH 13)`."""
    if isinstance(value, Mapping):
        if depth > _MAX_DEPTH:
            return "…"
        parts = [f"{key.replace('_', ' ')} {_nested(item, depth)}".rstrip() for key, item in value.items()]
        return _some(parts)
    if isinstance(value, list):
        return _some([_nested(item, depth) for item in value])
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def said(payload: JsonValue, channel: JsonValue = "mqtt") -> str:
    """Return what a recorded payload says, without its envelope, and without its name where that stands in it."""
    text = str(payload or "")
    try:
        content = json.loads(text)
    except ValueError:
        content = text
    if isinstance(content, dict):
        left_out = Envelope.model_fields.keys() | ({"name"} if channel == "spool" else set())
        content = {key: value for key, value in content.items() if key not in left_out}
        content = next(iter(content.values())) if content.keys() in ({"value"}, {"arguments"}) else content
    if isinstance(content, dict):
        # A coin whose topic is left to the bot is named, and that is all.
        content = {key: "" if value is None else value for key, value in content.items()}
    words = describe(content)
    return words if len(words) <= _LONGEST_SAID else f"{words[:_LONGEST_SAID]}…"


def _nested(value: JsonValue, depth: int) -> str:
    text = describe(value, depth + 1)
    return f"({text or 'none'})" if isinstance(value, dict | list) else text


def _some(parts: list[str]) -> str:
    more = f", and {len(parts) - _MAX_ITEMS} more" if len(parts) > _MAX_ITEMS else ""
    return ", ".join(parts[:_MAX_ITEMS]) + more


def _final_status(response: Response) -> Status:
    """Return the status, looking through a duplicate to its first outcome."""
    if response.status is not Status.DUPLICATE:
        return response.status
    first = response.data.get("first")
    status = first.get("status") if isinstance(first, dict) else first
    return Status(status) if isinstance(status, str) and status in set(Status) else Status.DUPLICATE
