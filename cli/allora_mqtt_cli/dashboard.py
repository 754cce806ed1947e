"""What `watch` shows: the newest message of each state topic, drawn as one screen."""

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from allora_mqtt.protocol.messages import Account, Availability, BotStatus, Heartbeat, Response, Status
from allora_mqtt.protocol.topics import Topics
from allora_mqtt_cli import outcome, render
from allora_mqtt_cli.connection import Message
from allora_mqtt_cli.heard import Heard


class Dashboard:
    """The bot as its messages tell it.

    Args:
        topics: the bot's topics.
        heartbeat_interval_s: how often it is expected to show a sign of life.

    Attributes:
        problem: why nothing comes at present, if so.
    """

    def __init__(self, topics: Topics, heartbeat_interval_s: float) -> None:
        self.problem: str | None = None
        self._topics = topics
        self._heard = Heard(topics, heartbeat_interval_s)

    @property
    def filters(self) -> tuple[str, ...]:
        """What to subscribe to."""
        return self._heard.filters

    @property
    def has_content(self) -> bool:
        """Whether anything has been heard yet."""
        return self._heard.has_content

    def take(self, message: Message) -> None:
        """Take over a message."""
        self._heard.take(message)

    def render(self, now: float) -> RenderableType:
        """Draw the screen.

        Args:
            now: on the monotonic clock, as the messages' arrival times.
        """
        parts: list[RenderableType] = [self._head(now)]
        status = self._heard.get(self._topics.status, BotStatus)
        if status is None:
            parts.append(Text("Waiting for the bot's first status.", style="yellow"))
        else:
            parts += self._warnings(status)
        if self._heard.coins or self._heard.active:
            parts.append(render.cryptos(self._heard.active, self._heard.coins))
        parts.append(self._last_command())
        for problem in (self.problem, self._heard.unreadable):
            if problem:
                parts.append(render.cell(problem, "bold red"))
        style = "red" if self.problem or self._heard.is_silent(now) else "green"
        return Panel(Group(*parts), title=f" {self._topics.base} ", subtitle="Ctrl-C ends", border_style=style)

    def _head(self, now: float) -> Table:
        status = self._heard.get(self._topics.status, BotStatus)
        money = self._heard.get(self._topics.account, Account) or status
        table = Table.grid(padding=(0, 3))
        names, values = [], []
        for name, value in (
            ("bot", self._presence()),
            ("mode", render.cell(status and status.mode, render.MODE_STYLES[status.mode] if status else "")),
            ("health", render.cell(status and status.health, render.HEALTH_STYLES[status.health] if status else "")),
            ("equity", render.usd(money.equity_usd if money else None)),
            ("daily PnL", render.usd(money.daily_pnl_usd if money else None, signed=True)),
            ("exposure", render.usd(money.exposure_usd if money else None)),
            ("heartbeat", self._pulse(now)),
        ):
            names.append(Text(name, style="dim"))
            values.append(value)
        table.add_row(*names)
        table.add_row(*values)
        return table

    def _presence(self) -> Text:
        style = "green" if self._heard.availability is Availability.ONLINE else "bold red"
        return render.cell(self._heard.availability or "unknown", style)

    def _pulse(self, now: float) -> Text:
        if self._heard.beat_at is None:
            return Text("none yet", style="yellow")
        beat = self._heard.get(self._topics.heartbeat, Heartbeat)
        lag = f", lag {beat.loop_lag_ms:.0f} ms" if beat else ""
        return Text(
            f"{now - self._heard.beat_at:.0f} s ago{lag}", style="bold red" if self._heard.is_silent(now) else "green"
        )

    def _warnings(self, status: BotStatus) -> list[RenderableType]:
        open_breakers = [
            render.cell(f"Breaker {breaker.name} is open: {breaker.reason}", "bold red") for breaker in status.breakers
        ]
        return [*open_breakers, *(render.cell(warning.message, "yellow") for warning in status.warnings)]

    def _last_command(self) -> Text:
        response = self._heard.get(self._topics.last_command, Response)
        if response is None:
            return render.cell("No command yet.", "dim")
        said = response.error.message if response.error else outcome.describe(response.data)
        executed = response.status is Status.EXECUTED
        by = f" by {response.source}" if response.source else ""
        line = (
            f"Last command {response.executed_at.astimezone():%H:%M:%S}: {response.name}{by} {response.status} {said}"
        )
        return render.cell(line, "green" if executed else "yellow")
