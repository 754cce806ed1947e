"""Runs allora-mqtt as the Supervisor says: each option is the setting of the same name, the broker its MQTT service."""

import json
import os
import pwd
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

DATA = Path("/data")
SUPERVISOR = "http://supervisor"
USER = "bot"

_BROKER = {"host": "MQTT_HOST", "port": "MQTT_PORT", "username": "MQTT_USERNAME", "password": "MQTT_PASSWORD"}
_PATIENCE_S = 15
_MAX_ANSWER_BYTES = 65_536
_NO_BROKER = "There is no MQTT broker ({said}): install and start the Mosquitto broker, then start this again."
_TOKENS = {"SUPERVISOR_TOKEN", "HASSIO_TOKEN"}
"""The program has no use for them."""


class CannotStartError(Exception):
    """What is in the way, and what to do about it."""


def main(words: list[str], data: Path = DATA, supervisor: str = SUPERVISOR, user: str = USER) -> NoReturn:
    """Become `allora-mqtt` with these words, or end with a sentence and code 1.

    Args:
        words: the command line of the program.
        data: the add-on's own folder, with its options.
        supervisor: the address of the Supervisor's API.
        user: whom the program runs as; its files in `data` become theirs.
    """
    try:
        options = read_options(data / "options.json")
        service = ask_for_broker(supervisor, os.environ.get("SUPERVISOR_TOKEN"))
        become(user, data)
    except CannotStartError as problem:
        sys.exit(str(problem))
    kept = {name: value for name, value in os.environ.items() if name not in _TOKENS}
    environment = {**kept, "HOME": str(data), **settings(options, service), "BOT_DATA_DIR": str(data)}
    os.execvpe("allora-mqtt", ["allora-mqtt", *words], environment)  # noqa: S606, S607 - no shell; it is on PATH


def read_options(path: Path) -> dict[str, Any]:
    """Return what the user has filled in.

    Raises:
        CannotStartError: the Supervisor's file is not there, or not what it writes.
    """
    again = "Save the options on the Configuration page and start this again."
    try:
        options = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no JSON"
        raise CannotStartError(f"{path} cannot be read: {reason}. {again}") from error
    if not isinstance(options, dict) or not all(re.fullmatch(r"[a-z0-9_]+", name) for name in options):
        raise CannotStartError(f"{path} holds no options. {again}")
    return options


def ask_for_broker(supervisor: str, token: str | None) -> dict[str, Any]:
    """Return the Supervisor's MQTT service: host, port, ssl, username, password.

    Raises:
        CannotStartError: there is none, or nobody who tells.
    """
    if not token:
        raise CannotStartError("SUPERVISOR_TOKEN is not set: this runs as an add-on of Home Assistant only.")
    request = urllib.request.Request(f"{supervisor}/services/mqtt", headers={"Authorization": f"Bearer {token}"})  # noqa: S310 - ours
    # No proxy lies between an add-on and its Supervisor, whatever the environment says.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=_PATIENCE_S) as answer:
            body = answer.read(_MAX_ANSWER_BYTES)
    except urllib.error.HTTPError as refusal:
        raise CannotStartError(_refused(refusal.code, refusal.read(_MAX_ANSWER_BYTES))) from refusal
    except OSError as error:
        raise CannotStartError(
            f"The Supervisor at {supervisor} does not answer ({getattr(error, 'reason', error)}). "
            "Start this again; if it stays so, restart Home Assistant's host."
        ) from error
    service = _json(body).get("data")
    if not isinstance(service, dict) or not service.get("host"):
        raise CannotStartError(_NO_BROKER.format(said="the Supervisor names none"))
    return service


def settings(options: Mapping[str, Any], service: Mapping[str, Any]) -> dict[str, str]:
    """Return the environment for the program; what is empty has its default."""
    broker = {name: service.get(key) for key, name in _BROKER.items()} | {"MQTT_TLS": bool(service.get("ssl"))}
    given = {name.upper(): value for name, value in options.items()}
    return {name: _text(value) for name, value in {**broker, **given}.items() if value not in {None, ""}}


def become(user: str, data: Path) -> None:
    """Leave root behind, with all that the program has written in the hands of its user.

    Raises:
        CannotStartError: root is needed for that, and this is not root.
    """
    account = pwd.getpwnam(user)
    try:
        for path in [data, *data.rglob("*")]:
            if path.lstat().st_uid != account.pw_uid and path != data / "options.json":
                os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)
        if os.getuid() != account.pw_uid:
            os.setgroups([])
            os.setgid(account.pw_gid)
            os.setuid(account.pw_uid)
    except OSError as error:
        raise CannotStartError(f"{data} cannot be given to {user!r}: {error.strerror}. Rebuild the add-on.") from error


def _refused(status: int, body: bytes) -> str:
    said = str(_json(body).get("message") or f"HTTP {status}")
    if status in {401, 403}:
        return f"The Supervisor refuses to name its MQTT broker ({said}). Reinstall the add-on."
    return _NO_BROKER.format(said=f"the Supervisor says: {said}")


def _json(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


if __name__ == "__main__":
    main(sys.argv[1:])
