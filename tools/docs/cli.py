"""docs/cli.md: every command of `allora-mqtt`, from the Typer application."""

from collections.abc import Iterator
from enum import Enum
from itertools import groupby
from typing import Any, Final, get_args

from typer.main import get_command

from allora_mqtt_cli.errors import ExitCode
from allora_mqtt_cli.main import PROGRAM, app
from tools.docs.markdown import code, codes, one_line, table
from tools.docs.members import meanings

_INTRODUCTION: Final = """\
# The command line

`allora-mqtt` steers and shows a bot over MQTT, like any other client, and starts the programs that run on this machine.
It reads the same [settings](settings.md) as the bot, from the same places: in the folder where the bot runs it needs no
options. `allora-mqtt COMMAND --help` shows what is on this page.

```console
$ allora-mqtt --install-completion     # completes commands and options
```
"""

_SHARED: Final = "shared_"


def page() -> str:
    """Return the page."""
    root: Any = get_command(app)
    commands = [(f"{PROGRAM} {name}", each) for name, each in root.commands.items()]
    commands.sort(key=lambda named: _PANELS.index(named[1].rich_help_panel))
    parts = [_INTRODUCTION, _exit_codes(), _shared_options(root)]
    for panel, members in groupby(commands, lambda named: str(named[1].rich_help_panel)):
        parts.append(f"\n## {panel}\n")
        for name, command in members:
            parts += _described(name, command)
    return "".join(parts)


_PANELS: Final = ("Control", "See", "Local", "Research")


def _described(name: str, command: Any) -> Iterator[str]:  # noqa: ANN401 - Typer's own classes are private
    inner = getattr(command, "commands", {})
    if inner:
        for key, each in inner.items():
            yield from _described(f"{name} {key}", each)
        return
    own = [each for each in command.params if not each.name.startswith(_SHARED)]
    shared = [each.opts[0] for each in command.params if each.name.startswith(_SHARED)]
    arguments = [_argument(each) for each in own if each.param_type_name == "argument"]
    options = ["[OPTIONS]"] if len(command.params) > len(arguments) else []
    usage = " ".join([name, *options, *arguments])
    yield f"\n### {name}\n\n```\n{usage}\n```\n\n{_paragraphs(command.help)}\n"
    explained = [each for each in own if each.help]
    if explained:
        yield f"\n{_table(explained)}"
    if shared:
        yield f"\nShared: {codes(shared)}.\n"


def _paragraphs(text: str) -> str:
    return "\n\n".join(one_line(paragraph) for paragraph in text.split("\n\n"))


def _argument(parameter: Any) -> str:  # noqa: ANN401 - as above
    name = parameter.metavar or parameter.name.upper()
    repeated = f"{name}…" if parameter.nargs == -1 else name
    return repeated if parameter.required or repeated.startswith("[") else f"[{repeated}]"


def _table(parameters: list[Any]) -> str:
    rows = [_row(each) for each in parameters]
    if any(default for _, default, _ in rows):
        return table(("", "default", "what it does"), rows)
    return table(("", "what it does"), [(shown, about) for shown, _, about in rows])


def _row(parameter: Any) -> tuple[str, str, str]:  # noqa: ANN401 - as above
    if parameter.param_type_name == "argument":
        shown = _argument(parameter)
    else:
        names = " / ".join([*parameter.opts, *parameter.secondary_opts])
        shown = names if parameter.is_flag else f"{names} {parameter.metavar or _placeholder(parameter)}"
    default = parameter.default
    is_shown = default is not None and not isinstance(default, bool) and not callable(default)
    value = default.value if isinstance(default, Enum) else default
    return code(shown), code(value) if is_shown else "", one_line(parameter.help)


def _placeholder(parameter: Any) -> str:  # noqa: ANN401 - as above
    kinds = [parameter.type_descriptor.annotation, *get_args(parameter.type_descriptor.annotation)]
    for kind in kinds:
        if isinstance(kind, type) and issubclass(kind, Enum):
            return "|".join(str(member.value) for member in kind)
    number = next((kind for kind in kinds if kind in {int, float}), None)
    return "NUMBER" if number is not None else str(parameter.name).upper()


def _exit_codes() -> str:
    told = meanings(ExitCode)
    rows = [(code(int(each)), told[each.name]) for each in ExitCode]
    return f"\n## Exit codes\n\n{table(('code', 'meaning'), rows)}"


def _shared_options(root: Any) -> str:  # noqa: ANN401 - as above
    shared = [each for each in root.params if each.name.startswith(_SHARED)]
    note = "They go before or after the command's name; each command says below which of them it takes."
    return f"\n## Shared options\n\n{note}\n\n{_table(shared)}"
