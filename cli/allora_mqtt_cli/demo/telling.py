"""How the tour is told: scenes, what was sent and answered, and when it goes on."""

import json
import select
import shlex
import sys
from collections.abc import Mapping
from typing import Any, Final

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.text import Text

from allora_mqtt_cli.demo.line import Answer, Line
from allora_mqtt_cli.output import printable

_WIDEST: Final = 110
_LONGEST: Final = 400


class Teller:
    """Writes to a terminal or a file.

    Args:
        console: where to.
        port: the broker's, for the lines that a reader can type.
        waits: whether each scene waits for Enter.
    """

    def __init__(self, console: Console, port: int, *, waits: bool) -> None:
        self._console = console
        self._port = port
        self._waits = waits
        self._scene = 0

    def scene(self, title: str, text: str) -> None:
        """Begin a scene."""
        self._scene += 1
        self._console.print()
        panel = Panel(Text(text), title=f"{self._scene}. {title}", title_align="left", border_style="cyan")
        self._console.print(panel, width=min(self._console.width, _WIDEST))

    def say(self, text: str, style: str = "") -> None:
        """Write a sentence."""
        self._console.print(Text(printable(text), style=style), width=min(self._console.width, _WIDEST))

    def show(self, renderable: RenderableType) -> None:
        """Write a table."""
        self._console.print(Padding(renderable, (0, 0, 0, 2)))

    def command(self, topic: str, payload: str, words: str, *, retain: bool) -> None:
        """Write what is sent, as it can be typed."""
        flags = f"-h 127.0.0.1 -p {self._port} -q 1{' -r' if retain else ''}"
        body = "-n" if not payload else f"-m {shlex.quote(payload)}"
        self._typed(f"mosquitto_pub {flags} -t {topic} {body}")
        if words:
            self._typed(f"allora-mqtt {words} --port {self._port}")

    def answer(self, answer: Answer, how_soon: str | None = None) -> None:
        """Write what the bot answered, and how soon."""
        content = {
            key: value
            for key, value in answer.content.items()
            if key in {"id", "status", "data", "error"} and value not in (None, {}, [])
        }
        first = answer.content.get("data", {}).get("first")
        if isinstance(first, dict):
            content["data"] = {"first": {key: first.get(key) for key in ("status", "executed_at", "revision")}}
        status = str(answer.content.get("status"))
        self.heard(answer.topic, content, "green" if status == "EXECUTED" else "yellow")
        self.say(f"  {how_soon or f'after {answer.took_ms:.0f} ms'}", "dim")

    def heard(self, topic: str, content: Mapping[str, Any] | str, style: str = "") -> None:
        """Write a message of the bot."""
        said = content if isinstance(content, str) else json.dumps(content, separators=(", ", ": "))
        short = said if len(said) <= _LONGEST else f"{said[:_LONGEST]} …"
        self._console.print(Text.assemble(("  < ", "dim"), (f"{topic} ", "bold"), (printable(short), style)))

    def pause(self, line: Line) -> None:
        """Wait for Enter, and listen meanwhile; not where nobody sits."""
        if not self._waits:
            return
        self._console.print(Text("\n  Enter goes on, Ctrl-C ends the tour.", style="dim"))
        line.idle(_enter_was_pressed)
        sys.stdin.readline()

    def _typed(self, text: str) -> None:
        self._console.print(Text(f"  $ {text}", style="bold magenta"), soft_wrap=True)


def _enter_was_pressed() -> bool:
    ready, _, _ = select.select([sys.stdin], [], [], 0)
    return bool(ready)
