"""Before a command is sent: what stands against it, and what the user is asked."""

from allora_mqtt.protocol import commands
from allora_mqtt.protocol.commands import Body, Mode
from allora_mqtt_cli import render
from allora_mqtt_cli.panel.state import PanelState

_REAL_MONEY = "mainnet"


def objection(body: Body, state: PanelState) -> str | None:
    """Return why a command is not sent, or None."""
    if state.problem is not None:
        return f"Not sent: there is no connection. {state.problem}"
    if isinstance(body, commands.SetMode) and body.value is Mode.ACTIVE and not state.heard.active:
        return "Please activate at least one coin first: Space switches the one under the cursor."
    return None


def question(body: Body, state: PanelState) -> str | None:
    """Return what the user has to say yes to first, or None."""
    match body:
        case commands.SetMode(value=Mode.ACTIVE):
            return _activation(state)
        case commands.SetMode(value=Mode.STOPPED):
            return (
                "Stop the bot?\n\nThe engine goes down and resting entry orders are cancelled. Positions are kept with "
                "their stops on the exchange, or closed where BOT_ON_STOP says so. The bot still listens."
            )
        case commands.Flatten():
            held = ", ".join(position.symbol for position in state.positions.root)
            closed = f"every position is closed ({held})" if held else "no position is open"
            return f"Flatten?\n\nAll orders are cancelled, {closed}, and the mode is STANDBY."
        case commands.Close():
            return f"Close the position in {body.symbol} at market?"
    return None


def _activation(state: PanelState) -> str:
    status = state.status
    network = status.network if status else "an unknown network"
    money = "REAL MONEY on mainnet" if network == _REAL_MONEY else network
    equity = render.usd(status.equity_usd if status else None).plain
    coins = ", ".join(state.heard.active)
    return f"Start trading {coins} on {money}?\n\nEquity {equity}. From then on the bot opens positions by itself."
