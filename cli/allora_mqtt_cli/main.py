"""The application: its commands, and how each run ends."""

import sys
from collections.abc import Sequence
from typing import Final

import typer
from typer.main import get_command

from allora_mqtt_cli.commands import config, control, cryptos, discovery, fleet, local, research, see
from allora_mqtt_cli.errors import CliError, ExitCode
from allora_mqtt_cli.invocation import Invocation
from allora_mqtt_cli.options import SENDS, takes

PROGRAM: Final = "allora-mqtt"

app = typer.Typer(name=PROGRAM, add_completion=True)


@app.callback()
@takes(*SENDS)
def _root(ctx: typer.Context) -> None:
    """Steer and see a trading bot over MQTT.

    Exit codes: 0 done, 2 wrong usage or configuration, 3 rejected by the bot, 4 failed, 5 no broker or no bot answered;
    `health` ends with 0 or 1.
    """
    del ctx  # its shared options were taken over by the decorator


see.register(app)
control.register(app)
cryptos.register(app)
config.register(app)
discovery.register(app)
fleet.register(app)
local.register(app)
research.register(app)


def main(argv: Sequence[str] | None = None, invocation: Invocation | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments; those of the process without.
        invocation: what the run starts with; tests put fixed ids and times here.

    Returns:
        The exit code, see `ExitCode`.
    """
    arguments = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    invocation = invocation or Invocation()
    try:
        code = get_command(app).main(arguments, PROGRAM, standalone_mode=False, obj=invocation)
    except CliError as error:
        invocation.output.error(error)
        return error.exit_code
    except typer.TyperException as error:
        invocation.output.as_json |= "--json" in arguments
        happened = error.format_message().replace("Value error, ", "")
        message = f"{happened}\nTry `{PROGRAM} --help`, or --help after the command's name."
        invocation.output.error(CliError(ExitCode.USAGE, "USAGE", message))
        return ExitCode.USAGE
    except (KeyboardInterrupt, typer.Abort):
        return ExitCode.INTERRUPTED
    return code if isinstance(code, int) else ExitCode.DONE
