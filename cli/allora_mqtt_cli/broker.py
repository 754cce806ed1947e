"""Which broker to talk to, in which version of MQTT, and what to say when that does not work."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, Self

from paho.mqtt.enums import MQTTProtocolVersion

from allora_mqtt import tcp
from allora_mqtt.settings import Settings
from allora_mqtt_cli.errors import CliError, ExitCode

_VERSIONS: Final = {
    "auto": (MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311),
    "5": (MQTTProtocolVersion.MQTTv5,),
    "3.1.1": (MQTTProtocolVersion.MQTTv311,),
}


@dataclass(frozen=True, slots=True)
class Tls:
    """Certificates; without a CA those of the system are trusted."""

    ca: Path | None
    cert: Path | None
    key: Path | None


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker and how to log in.

    Attributes:
        versions: the versions of MQTT to try, in this order.
        embedded: whether it is the one that the bot itself starts.
    """

    host: str
    port: int
    username: str | None
    password: str | None = field(repr=False)
    tls: Tls | None
    transport: Literal["tcp", "websockets"]
    versions: tuple[MQTTProtocolVersion, ...]
    embedded: bool

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the broker that the settings name: `MQTT_HOST`, else the one embedded in the bot."""
        mqtt = settings.mqtt
        own_host, own_port = settings.embedded.address
        host, port = (mqtt.host, mqtt.effective_port) if mqtt.host else (tcp.reachable(own_host), own_port)
        username, password = mqtt.username, mqtt.password.get_secret_value() if mqtt.password else None
        if mqtt.host is None and username is None:
            # Who has the settings of the bot's own broker is one of its users.
            username, password = next(iter(settings.embedded.users.items()), (None, None))
        versions = _VERSIONS[mqtt.protocol]
        if mqtt.host is None and mqtt.protocol == "auto":
            versions = (MQTTProtocolVersion.MQTTv311,)
        return cls(
            host=host,
            port=port,
            username=username,
            password=password,
            tls=Tls(mqtt.tls_ca, mqtt.tls_cert, mqtt.tls_key) if mqtt.tls and mqtt.host else None,
            transport=mqtt.transport if mqtt.host else "tcp",
            versions=versions,
            embedded=mqtt.host is None,
        )

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"{self.host}:{self.port}"

    def unreachable(self, reason: str) -> CliError:
        """Return the error for a broker that cannot be talked to."""
        if self.embedded:
            advice = (
                "MQTT_HOST is not set, so this is the broker inside the bot (EMBEDDED_BROKER_BIND): "
                "start the bot with `allora-mqtt run`, or set MQTT_HOST."
            )
        else:
            advice = "Check MQTT_HOST and MQTT_PORT (or --host and --port), MQTT_TLS, and that the broker runs."
        way_around = "On the bot's own machine `--via spool` sends commands without a broker."
        message = f"The broker at {self.address} cannot be reached: {reason}. {advice} {way_around}"
        return CliError(ExitCode.NO_ANSWER, "BROKER_UNREACHABLE", message)

    def refused(self, reason: str) -> CliError:
        """Return the error for a login that was not accepted."""
        who = f"the login of {self.username!r}" if self.username else "a login without a name"
        message = (
            f"The broker at {self.address} refused {who}: {reason}. "
            "Check MQTT_USERNAME (or --username) and MQTT_PASSWORD or MQTT_PASSWORD_FILE."
        )
        return CliError(ExitCode.USAGE, "LOGIN_REFUSED", message)

    def lost(self) -> CliError:
        """Return the error for a connection that broke."""
        message = f"The broker at {self.address} closed the connection. Try again; `allora-mqtt doctor` looks closer."
        return CliError(ExitCode.NO_ANSWER, "CONNECTION_LOST", message)

    def forbidden(self, verb: str, topic: str, reason: str) -> CliError:
        """Return the error for a topic that the broker's access rules keep from this login."""
        who = repr(self.username) if self.username else "clients without a login"
        message = (
            f"The broker at {self.address} does not let {who} {verb} {topic}: {reason}. "
            "Check the broker's access rules and MQTT_BASE_TOPIC."
        )
        return CliError(ExitCode.REJECTED, "FORBIDDEN_BY_BROKER", message)
