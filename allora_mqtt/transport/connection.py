"""What a connection to a broker is made with: where it is, what is wanted of it, and what it says when we vanish."""

from dataclasses import dataclass, field

from pydantic import SecretStr


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the broker is.

    Attributes:
        embedded: whether it is the bot's own, which speaks 3.1.1 only.
        login: name and password, where they are not those of the settings.
    """

    host: str
    port: int
    embedded: bool = False
    login: tuple[str, SecretStr] | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Subscription:
    """A topic filter.

    Attributes:
        keep_retain_flag: MQTT 5: deliver live messages with the retain flag their sender set.
        is_essential: whether the bot cannot work without it; if so its messages wait for the bot while it is away.
    """

    topic_filter: str
    keep_retain_flag: bool = False
    is_essential: bool = True

    @property
    def qos(self) -> int:
        """The quality of service that is asked for."""
        return int(self.is_essential)


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker says of us when we vanish."""

    topic: str
    payload: bytes
