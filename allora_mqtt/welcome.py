"""What a person at a terminal reads when the bot is up."""

import shutil
import sys
from pathlib import Path
from typing import Final

from allora_mqtt import __version__
from allora_mqtt.protocol.commands import Mode
from allora_mqtt.settings import Network, Settings

_STAKES: Final = {
    Network.SIM: "sim: simulated prices, simulated money",
    Network.PAPER: "paper: real prices, simulated money",
    Network.TESTNET: "testnet: HyperLiquid's testnet, play money",
    Network.MAINNET: "mainnet: REAL MONEY",
}


def greeting(settings: Settings, host: str, port: int, mode: Mode, program: str, *, own_broker: bool) -> str:
    """Return where everything is and what to type next.

    Args:
        settings: the configuration in force.
        host: the broker.
        port: its port.
        mode: what the bot starts in.
        program: how the command line is called from the current folder.
        own_broker: whether the bot brought the broker along.
    """
    base = settings.mqtt.base_topic
    user = settings.mqtt.username or next(iter(settings.embedded.users if own_broker else {}), None)
    where = f"-h {host} -p {port}{'' if user is None else f' -u {user} -P …'}"
    forgetful = (
        "            Commands, sessions and retained messages end with this process, and it speaks MQTT 3.1.1 only;\n"
        "            with mosquitto and MQTT_HOST they wait while the bot is away (docs/brokers.md).\n"
    )
    return (
        f"\nAlloraMind {__version__} is online in {mode}.\n"
        f"  exchange  {_STAKES[settings.bot.network]}\n"
        f"  broker    {host}:{port}{' (its own)' if own_broker else ''}, topics {base}/…\n"
        f"{forgetful if own_broker else ''}"
        f"  data      {settings.bot.data_dir}\n\n"
        "Type in a second terminal:\n"
        f"  {program} cryptos set BTC ETH\n"
        f"  {program} mode active\n"
        f"  {program} watch\n"
        f"  {program} panel\n\n"
        "or use any MQTT client:\n"
        f"  mosquitto_pub {where} -q 1 -r -t {base}/cryptos/set -m BTC,ETH\n"
        f"  mosquitto_pub {where} -q 1 -r -t {base}/mode/set -m ACTIVE\n"
        f"  mosquitto_sub {where} -v -t '{base}/#'\n\n"
        "Ctrl-C ends the bot; positions keep their stops on the exchange.\n\n"
    )


def program_name() -> str:
    """Return how the program that runs here is called from the current folder."""
    program = Path(sys.argv[0]).resolve()
    found = shutil.which(program.name)
    if found is not None and Path(found).resolve() == program:
        return program.name
    return str(program.relative_to(Path.cwd())) if program.is_relative_to(Path.cwd()) else str(program)
