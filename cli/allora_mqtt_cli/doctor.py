"""`doctor`: looks at everything that can be seen from here, and says for each fault what mends it."""

import time
from datetime import UTC, datetime
from typing import Final

from rich.table import Table

from allora_mqtt import __version__
from allora_mqtt.checkup.findings import Finding, Verdict
from allora_mqtt.configuration import Loaded
from allora_mqtt.protocol.commands import Ping
from allora_mqtt.protocol.messages import (
    PROTOCOL_VERSION,
    Availability,
    BotStatus,
    Health,
    HealthState,
    Heartbeat,
    Info,
)
from allora_mqtt.settings import Settings
from allora_mqtt_cli import broker_checks, render, session
from allora_mqtt_cli.client import Client, availability_of, understand
from allora_mqtt_cli.errors import CliError, ExitCode
from allora_mqtt_cli.invocation import Invocation
from allora_mqtt_cli.output import Output

_SLOW_LOOP_MS: Final = 250
_SLOW_PING_MS: Final = 500
_CLOCK_SKEW_S: Final = 5
_HEARTBEAT_MARGIN: Final = 1.5
_PINGS: Final = 3

_STYLES: Final = {Verdict.GOOD: "green", Verdict.ODD: "yellow", Verdict.BAD: "bold red"}


def examine(invocation: Invocation) -> None:
    """Write a list of findings; no check hides another.

    Raises:
        CliError: at least one of them is a problem.
    """
    try:
        loaded = invocation.load()
    except CliError as error:
        problems = error.details["problems"]
        remedy = "Nothing else can be looked at before this is mended."
        _write(invocation.output, [Finding("configuration", Verdict.BAD, problem, remedy) for problem in problems])
        return
    # The exchange's SDK and the database are known to the bot's side alone, and take a moment to import.
    from allora_mqtt.checkup.machine import look_around  # noqa: PLC0415
    from allora_mqtt.checkup.services import examine_services  # noqa: PLC0415

    findings = [_configuration(loaded), *look_around(loaded.settings), *examine_services(loaded.settings)]
    _write(invocation.output, [*findings, *_over_mqtt(invocation, loaded)])


def _over_mqtt(invocation: Invocation, loaded: Loaded) -> list[Finding]:
    findings: list[Finding] = []
    try:
        with session.open_client(invocation, loaded) as client:
            findings += broker_checks.broker(client)
            findings += _bot(invocation, client, loaded)
    except CliError as error:
        happened, _, remedy = error.message.partition(". ")
        what = "login" if error.code == "LOGIN_REFUSED" else "broker"
        findings.append(Finding(what, Verdict.BAD, happened, remedy))
    return findings


def _configuration(loaded: Loaded) -> Finding:
    if loaded.warnings:
        return Finding("configuration", Verdict.ODD, " ".join(loaded.warnings), "Each says what to do about it.")
    return Finding("configuration", Verdict.GOOD, f"settings given: {len(loaded.origins)}; the rest are defaults")


def _bot(invocation: Invocation, client: Client, loaded: Loaded) -> list[Finding]:
    topics = client.topics
    found = client.read_retained(topics.availability, topics.status, topics.health, topics.info)
    availability = availability_of(found.get(topics.availability))
    findings = [presence(availability, topics.base)]
    if availability is Availability.ONLINE:
        findings += _ping(invocation, client)
        patience_s = max(invocation.timeout_s, loaded.settings.bot.heartbeat_interval_s * _HEARTBEAT_MARGIN)
        findings += _heartbeat(client, patience_s)
        findings += broker_checks.discovery(client, loaded.settings)
    findings += broker_checks.mailboxes(client, availability)
    if topics.health in found:
        findings += dependencies(understand(Health, found[topics.health], topics.health))
    if topics.info in found:
        info = understand(Info, found[topics.info], topics.info)
        findings += [identity(info, loaded.settings), *signing(info, loaded.settings)]
    if topics.status in found:
        findings += state(understand(BotStatus, found[topics.status], topics.status))
    return findings


def presence(availability: Availability | None, base: str) -> Finding:
    """Judge whether the bot is there."""
    match availability:
        case Availability.ONLINE:
            return Finding("bot", Verdict.GOOD, f"online at {base}")
        case Availability.OFFLINE:
            return Finding(
                "bot", Verdict.BAD, f"offline at {base}", "Start it with `allora-mqtt run`; its log says why."
            )
        case None:
            remedy = "Start it with `allora-mqtt run`, or set MQTT_BASE_TOPIC as the bot has it."
            return Finding("bot", Verdict.BAD, f"never seen at {base}", remedy)


def _ping(invocation: Invocation, client: Client) -> list[Finding]:
    try:
        answers = [session.ask(invocation, client, Ping()) for _ in range(_PINGS)]
    except CliError as error:
        said, _, rest = error.message.partition(". ")
        remedy = "It is connected and does not run commands: look at its log and restart it."
        return [Finding("ping", Verdict.BAD, said, rest if error.exit_code is ExitCode.REJECTED and rest else remedy)]
    took_ms = min(answer.round_trip_s for answer in answers) * 1000
    way_ms = min(answer.round_trip_s * 1000 - answer.response.duration_ms for answer in answers)
    if took_ms > _SLOW_PING_MS:
        remedy = "The network, the broker or the bot is slow; compare with the loop lag below."
        return [Finding("ping", Verdict.ODD, f"{took_ms:.1f} ms", remedy)]
    return [Finding("ping", Verdict.GOOD, f"{took_ms:.1f} ms"), *broker_checks.swiftness(client, way_ms)]


def _heartbeat(client: Client, patience_s: float) -> list[Finding]:
    topic = client.topics.heartbeat
    deadline = time.monotonic() + patience_s
    for message in client.tail(topic, beat_s=patience_s):
        if message is not None and message.topic == topic:
            return heartbeat(understand(Heartbeat, message.payload, topic), datetime.now(UTC))
        if message is None or time.monotonic() > deadline:
            break
    remedy = "The bot hangs, or BOT_HEARTBEAT_INTERVAL_S is larger there than here: look at its log."
    return [Finding("heartbeat", Verdict.BAD, f"none within {patience_s:g} s", remedy)]


def heartbeat(beat: Heartbeat, now: datetime) -> list[Finding]:
    """Judge a heartbeat that has just come in."""
    skew_s = (now - beat.at).total_seconds()
    findings = []
    if beat.loop_lag_ms > _SLOW_LOOP_MS:
        remedy = "The bot's machine is overloaded, or something blocks its loop: look at its log."
        findings.append(Finding("heartbeat", Verdict.ODD, f"loop lag {beat.loop_lag_ms:.0f} ms", remedy))
    else:
        said = f"number {beat.seq}, {max(skew_s, 0):.1f} s old, loop lag {beat.loop_lag_ms:.1f} ms"
        findings.append(Finding("heartbeat", Verdict.GOOD, said))
    if abs(skew_s) > _CLOCK_SKEW_S:
        said = f"this machine and the bot's differ by {abs(skew_s):.0f} s"
        remedy = "Set both by NTP: commands that expire, and fresh activations, depend on it."
        findings.append(Finding("clock", Verdict.ODD, said, remedy))
    return findings


def dependencies(health: Health) -> list[Finding]:
    """Judge each service the bot depends on."""
    findings = []
    for name, service in health:
        latency = "" if service.latency_p50_ms is None else f", {service.latency_p50_ms:.0f} ms"
        said = f"{service.state}, breaker {service.breaker}{latency}"
        if service.state is HealthState.OK:
            findings.append(Finding(name, Verdict.GOOD, said))
            continue
        remedy = f"Last error: {service.last_error or 'none'}."
        if service.breaker != "closed":
            remedy += f" When it is mended: `allora-mqtt reset-breaker {name}`."
        verdict = Verdict.BAD if service.state is HealthState.TRIPPED else Verdict.ODD
        findings.append(Finding(name, verdict, said, remedy))
    return findings


def identity(info: Info, settings: Settings) -> Finding:
    """Judge whether the bot there is the one that is configured here."""
    mode = f", {info.account_mode}" if info.account_mode else ""
    said = f"version {info.version}, {info.network}, account {info.account_address}{mode}"
    if info.network != settings.bot.network:
        remedy = f"Here BOT_NETWORK is {settings.bot.network}: what is said of the exchange above is not that bot's."
        return Finding("identity", Verdict.ODD, said, remedy)
    if (info.version, info.protocol_version) != (__version__, PROTOCOL_VERSION):
        return Finding("identity", Verdict.ODD, said, f"This program is {__version__}: install the same on both sides.")
    return Finding("identity", Verdict.GOOD, said)


def signing(info: Info, settings: Settings) -> list[Finding]:
    """Judge whether the bot there looks at what is signed here; that it takes what is signed the ping has shown."""
    is_demanded, keys = bool(info.settings.get("MQTT_COMMAND_SECRET")), settings.mqtt.command_keys
    if not is_demanded and keys is None:
        return []
    if not is_demanded:
        remedy = "Set MQTT_COMMAND_SECRET for the bot as it is set here, and start it again."
        return [
            Finding("signing", Verdict.ODD, "commands are signed here, and that bot takes them from anybody", remedy)
        ]
    unsigned = info.settings.get("MQTT_UNSIGNED_COMMANDS")
    also = ", and unsigned ones that take risk away" if unsigned == "reduce_risk" else ""
    return [Finding("signing", Verdict.GOOD, f"the bot takes signed commands{also}")]


def state(status: BotStatus) -> list[Finding]:
    """Judge what the bot says of itself."""
    findings = [
        Finding(
            "breaker",
            Verdict.BAD,
            f"{breaker.name} has been open since {breaker.since:%Y-%m-%d %H:%M} UTC: {breaker.reason}",
            f"See to the reason, then `allora-mqtt reset-breaker {breaker.name}`.",
        )
        for breaker in status.breakers
    ]
    findings += [
        Finding("warning", Verdict.ODD, warning.message, f"Code {warning.code}.") for warning in status.warnings
    ]
    return findings


def _write(output: Output, findings: list[Finding]) -> None:
    problems = [finding for finding in findings if finding.verdict is Verdict.BAD]
    rows = [
        {"what": finding.what, "verdict": finding.verdict, "said": finding.said, "remedy": finding.remedy or None}
        for finding in findings
    ]
    message = f"{len(problems)} problem{'' if len(problems) == 1 else 's'} found: see the remedies above."
    error = CliError(ExitCode.FAILED, "PROBLEMS_FOUND", message, {"findings": rows})
    if output.as_json:
        if problems:
            raise error
        output.document({"findings": rows})
        return
    table = Table.grid(padding=(0, 2))
    for finding in findings:
        style = _STYLES[finding.verdict]
        table.add_row(render.cell(finding.verdict, style), render.cell(finding.what, "bold"), render.cell(finding.said))
        if finding.remedy:
            table.add_row("", "", render.cell(finding.remedy, "dim"))
    output.show(table)
    if problems:
        raise error
    output.say("Nothing is wrong.", "green")
