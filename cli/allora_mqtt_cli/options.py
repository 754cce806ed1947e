"""The options that commands share; each is accepted before and after the command's name."""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, Final

import typer

from allora_mqtt_cli.invocation import Invocation, Via

_PANEL: Final = "Connection and output"

CONNECTION: Final = ("host", "port", "username", "base_topic")
READS: Final = (*CONNECTION, "timeout", "json")
ASKS: Final = (*READS, "via")
SENDS: Final = (*ASKS, "no_wait")
LOCAL: Final = ("json",)

_SETTING: Final = {
    "host": "MQTT_HOST",
    "port": "MQTT_PORT",
    "username": "MQTT_USERNAME",
    "base_topic": "MQTT_BASE_TOPIC",
}

_ANNOTATIONS: Final[dict[str, Any]] = {
    "host": Annotated[
        str | None,
        typer.Option(
            "--host",
            metavar="NAME",
            help="Broker; MQTT_HOST, else the bot's own.",
            rich_help_panel=_PANEL,
            show_default=False,
        ),
    ],
    "port": Annotated[
        int | None,
        typer.Option(
            "--port",
            metavar="PORT",
            help="Broker's port; MQTT_PORT.",
            rich_help_panel=_PANEL,
            show_default=False,
            min=1,
            max=65535,
        ),
    ],
    "username": Annotated[
        str | None,
        typer.Option(
            "--username",
            metavar="NAME",
            help="Login; MQTT_USERNAME. Its password comes from MQTT_PASSWORD, MQTT_PASSWORD_FILE or a prompt.",
            rich_help_panel=_PANEL,
            show_default=False,
        ),
    ],
    "base_topic": Annotated[
        str | None,
        typer.Option(
            "--base-topic",
            metavar="TOPIC",
            help="What every topic begins with; MQTT_BASE_TOPIC.",
            rich_help_panel=_PANEL,
            show_default=False,
        ),
    ],
    "timeout": Annotated[
        float | None,
        typer.Option(
            "--timeout",
            metavar="SECONDS",
            help="How long to wait for the broker, and then for the answer; 5 without.",
            rich_help_panel=_PANEL,
            show_default=False,
            min=0.1,
        ),
    ],
    "json": Annotated[
        bool,
        typer.Option("--json", help="Write JSON, errors too.", rich_help_panel=_PANEL, show_default=False),
    ],
    "via": Annotated[
        Via | None,
        typer.Option(
            "--via",
            help="The way to the bot; spool is a folder in BOT_DATA_DIR, for when the broker is down.",
            rich_help_panel=_PANEL,
            show_default=False,
            case_sensitive=False,
        ),
    ],
    "no_wait": Annotated[
        bool,
        typer.Option(
            "--no-wait",
            help="Send, and do not wait for the bot's answer.",
            rich_help_panel=_PANEL,
            show_default=False,
        ),
    ],
}


def takes(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that gives a command shared options beside its own.

    The command sees them through `Invocation.of(ctx)`; its first parameter must be the context.

    Args:
        names: which of the shared options make sense for the command: `SENDS`, `ASKS`, `READS`, `LOCAL`, …
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(function, eval_str=True)
        shared = [
            inspect.Parameter(
                f"shared_{name}",
                inspect.Parameter.KEYWORD_ONLY,
                default=False if name in {"json", "no_wait"} else None,
                annotation=_ANNOTATIONS[name],
            )
            for name in names
        ]

        @functools.wraps(function)
        def command(*args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - passed through
            context: typer.Context = kwargs["ctx"] if "ctx" in kwargs else args[0]
            values = {name: kwargs.pop(f"shared_{name}") for name in names}
            _take_over(Invocation.of(context), values)
            function(*args, **kwargs)

        parameters = [*own.parameters.values(), *shared]
        command.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined] # read by Typer
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return command

    return decorate


def connection_words(invocation: Invocation) -> list[str]:
    """Return what this run was told of the connection, as words for the command line of another."""
    given = {name: invocation.flags[setting] for name, setting in _SETTING.items() if setting in invocation.flags}
    words = [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
    return [*words, f"--timeout={invocation.timeout_s}"]


def _take_over(invocation: Invocation, values: dict[str, Any]) -> None:
    for name, setting in _SETTING.items():
        if values.get(name) is not None:
            invocation.flags[setting] = values[name]
    if values.get("timeout") is not None:
        invocation.timeout_s = values["timeout"]
    if values.get("via") is not None:
        invocation.via = values["via"]
    invocation.output.as_json |= values.get("json", False)
    invocation.no_wait |= values.get("no_wait", False)
