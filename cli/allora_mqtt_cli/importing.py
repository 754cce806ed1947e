"""`allora-mqtt import`: what users of the earlier bot bring along."""

import dataclasses
from pathlib import Path
from typing import Any, Final

from allora_mqtt.configuration import SettingsError, load
from allora_mqtt.earlier import database, environment
from allora_mqtt.files import whole_file, write_whole
from allora_mqtt.protocol.commands import SetCrypto
from allora_mqtt_cli import outcome, render, session
from allora_mqtt_cli.errors import CliError, ExitCode
from allora_mqtt_cli.invocation import Invocation
from allora_mqtt_cli.output import Output

_LOGS: Final = "trade_logs.csv"
_ENV: Final = "env"
_SHOWN: Final = 20


def bring(invocation: Invocation, path: Path, out: Path | None, *, is_dry: bool, activates: bool) -> None:
    """Read the earlier bot's files, write what can be used here, and say what cannot.

    Args:
        invocation: the run's shared options.
        path: its database, its `.env`, or its folder.
        out: the folder to write to; `imported/` in the data folder without.
        is_dry: whether nothing is written or sent.
        activates: whether its active coins are switched on here, by name.

    Raises:
        CliError: there is nothing of it, or it cannot be read, or a coin could not be switched on.
    """
    if not path.exists():
        raise CliError(ExitCode.USAGE, "USAGE", f"There is no {path}.")
    is_env = path.is_file() and path.name.endswith(".env")
    env_file = path if is_env else path / ".env" if path.is_dir() else None
    try:
        found = database.Found() if is_env else database.look(path)
        lines = environment.translate(env_file) if env_file is not None and env_file.is_file() else []
        files = [] if is_dry else _write(found, lines, out or invocation.load().settings.bot.data_dir / "imported")
    except database.NotTheEarlierBot as error:
        raise CliError(ExitCode.USAGE, "NOT_THE_EARLIER_BOT", str(error)) from error
    except OSError as error:
        raise CliError(ExitCode.FAILED, "CANNOT_IMPORT", f"{error.filename or path}: {error.strerror}.") from error
    problems = _problems(files)
    answers = _activate(invocation, found) if activates and not is_dry else []
    document: dict[str, Any] = dataclasses.asdict(found) | {
        "env": [line.text(masked=True) for line in lines],
        "files": [str(file) for file in files],
        "problems": problems,
        "activated": answers,
    }
    refused = [str(answer["symbol"]) for answer in answers if answer["status"] != "EXECUTED"]
    if not invocation.output.as_json:
        _show(invocation.output, found, lines, files, problems, answers)
    elif not refused:
        invocation.output.document(document)
    if refused:
        message = f"Not switched on: {', '.join(refused)}; see above."
        raise CliError(ExitCode.REJECTED, "NOT_ALL_ACTIVATED", message, document)


def _write(found: database.Found, lines: list[environment.Line], out: Path) -> list[Path]:
    files = []
    out.mkdir(parents=True, exist_ok=True, mode=0o700)
    if found.database is not None and found.trade_logs:
        with whole_file(out / _LOGS) as file:
            database.write_trade_logs(found.database, file)
        files.append(out / _LOGS)
    if lines:
        text = "".join(f"{line.text(masked=False)}\n" for line in lines)
        write_whole(out / _ENV, text.encode())
        files.append(out / _ENV)
    return files


def _problems(files: list[Path]) -> list[str]:
    """Return what this bot would say of the new `.env`."""
    for file in files:
        if file.name == _ENV:
            try:
                return list(load(env_file=file).warnings)
            except SettingsError as error:
                return list(error.problems)
    return []


def _activate(invocation: Invocation, found: database.Found) -> list[dict[str, Any]]:
    """Switch the coins on one by one, by name alone: what one is refused for keeps none of the others off."""
    answers = []
    with session.open_client(invocation) as client:
        for coin in found.coins:
            body = session.build(SetCrypto, {"symbol": coin.symbol, "value": "ON"})
            reply = client.request(body, session.envelope(invocation, program="import"))
            if reply.response is None:
                raise outcome.no_answer(reply, invocation.timeout_s)
            error = reply.response.error
            said = outcome.sentence(reply.response) if error is None else error.message
            answers.append({"symbol": coin.symbol, "status": str(reply.response.status), "said": said})
    return answers


def _show(
    output: Output,
    found: database.Found,
    lines: list[environment.Line],
    files: list[Path],
    problems: list[str],
    answers: list[dict[str, Any]],
) -> None:
    _show_coins(output, found, answers)
    _show_commands(output, found)
    if found.trade_logs:
        output.say(
            f"Entries of its trade log: {found.trade_logs:,}. They are opinions, no fills, and stay apart.", "bold"
        )
    if lines:
        output.say("Its .env in the names of this bot (secrets masked here):", "bold")
        for line in lines:
            output.say(f"  {line.text(masked=True)}", "dim" if line.value is None else "")
    for problem in problems:
        output.note(problem)
    for file in files:
        output.say(f"Written: {file}", "green")
    if not files:
        output.note("Nothing was written.")


def _show_coins(output: Output, found: database.Found, answers: list[dict[str, Any]]) -> None:
    if found.coins:
        output.say("Active coins, by name; the earlier bot's topic numbers are not taken over:", "bold")
        output.say("  " + ", ".join(f"{coin.symbol} (it had {coin.topic_id})" for coin in found.coins))
    if found.coins and not answers:
        names = " ".join(coin.symbol for coin in found.coins)
        output.say(f"  allora-mqtt cryptos set {names}     (or --activate here)", "bold magenta")
    for symbol in found.unreadable:
        output.note(f"{symbol!r} was active and is no symbol: left out.")
    for answer in answers:
        output.say(f"  {answer['symbol']}: {answer['said']}", "green" if answer["status"] == "EXECUTED" else "red")


def _show_commands(output: Output, found: database.Found) -> None:
    if found.commands:
        counts = ", ".join(f"{count} {status}" for status, count in sorted(found.commands.items()))
        output.say(f"Commands in its database: {counts}.", "bold")
    if not found.waiting:
        return
    count = len(found.waiting)
    output.say(f"Never executed, and not executed here either ({count}); send again what you still want:", "bold")
    table = render.sheet("command", "data", "created", "in")
    for each in found.waiting[:_SHOWN]:
        table.add_row(*(render.cell(text) for text in (each.kind, each.data[:60], each.created_at, each.source)))
    output.show(table)
    if count > _SHOWN:
        output.note(f"and {count - _SHOWN} more (--json has all)")
