"""`health`: is the bot there and alive, as whoever uses it sees it? For Docker, systemd timers, cron and monitoring."""

import time

from allora_mqtt.protocol.messages import Availability, Heartbeat
from allora_mqtt_cli import session
from allora_mqtt_cli.client import Client, availability_of, understand
from allora_mqtt_cli.errors import CliError, ExitCode
from allora_mqtt_cli.heard import MISSED_BEATS
from allora_mqtt_cli.invocation import Invocation


def check(invocation: Invocation, max_wait_s: float | None) -> None:
    """Wait for a sign of life and tell of it; heartbeats are not retained, so one that comes is new.

    Args:
        invocation: the run's shared options.
        max_wait_s: how long a heartbeat may be missing; without, as long as two and a half of them are apart.

    Raises:
        CliError: none has come, or nobody is there to hear it from; always with the exit code `UNHEALTHY`.
    """
    try:
        loaded = invocation.load()
        patience_s = MISSED_BEATS * loaded.settings.bot.heartbeat_interval_s if max_wait_s is None else max_wait_s
        with session.open_client(invocation, loaded) as client:
            beat = _sign_of_life(client, patience_s)
    except CliError as error:
        raise CliError(ExitCode.UNHEALTHY, error.code, error.message, error.details) from error
    if invocation.output.as_json:
        invocation.output.document(beat.model_dump(mode="json"))
        return
    invocation.output.say(
        f"Online in {beat.mode}: heartbeat {beat.seq}, up {beat.uptime_s:.0f} s, loop lag {beat.loop_lag_ms:.1f} ms.",
        "green",
    )


def _sign_of_life(client: Client, patience_s: float) -> Heartbeat:
    topics = client.topics
    availability: Availability | None = None
    deadline = time.monotonic() + patience_s
    for message in client.tail(topics.availability, topics.heartbeat, beat_s=patience_s):
        if message is None or time.monotonic() > deadline:
            break
        if message.topic == topics.availability:
            availability = availability_of(message.payload)
            if availability is Availability.OFFLINE:
                said = (
                    f"The bot at {topics.base} is offline: start it with `allora-mqtt run`; its log says why it ended."
                )
                raise CliError(ExitCode.NO_ANSWER, "BOT_OFFLINE", said)
        elif not message.retained:
            return understand(Heartbeat, message.payload, message.topic)
    if availability is None:
        raise session.no_state(topics.availability)
    said = (
        f"The bot at {topics.base} is online and sends no heartbeat: none in {patience_s:g} s. It hangs, or its "
        "BOT_HEARTBEAT_INTERVAL_S is larger than here: look at its log, and restart it."
    )
    raise CliError(ExitCode.NO_ANSWER, "NO_HEARTBEAT", said)
