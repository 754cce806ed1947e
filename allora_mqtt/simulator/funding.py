"""Hourly funding: longs pay shorts (or the other way round) a share of the notional."""

from decimal import Decimal

from allora_mqtt.simulator.account import MAX_HISTORY, ZERO, Account
from allora_mqtt.simulator.exchange_state import ExchangeState
from allora_mqtt.simulator.market import HOUR_S
from allora_mqtt.simulator.matching import Moment
from allora_mqtt.simulator.ticks import to_wire

_MAX_CATCH_UP_HOURS = 24 * 7


def pay_funding(state: ExchangeState, moment: Moment) -> bool:
    """Book the funding of every market hour that has ended since the last call; returns whether any money moved."""
    hour = moment.market.funding_hour(moment.now_s)
    if state.funding_hour is None:
        state.funding_hour = hour
    first = max(state.funding_hour, hour - _MAX_CATCH_UP_HOURS)
    if hour <= state.funding_hour:
        return False
    state.funding_hour = hour
    for ended in range(first + 1, hour + 1):
        for account in state.accounts.values():
            _pay(account, ended, moment)
    return True


def _pay(account: Account, hour: int, moment: Moment) -> None:
    ended_ms = int(moment.market.clock.wall_s(hour * HOUR_S) * 1000)
    for index, position in account.positions.items():
        asset = moment.market.universe.assets[index]
        rate = moment.market.funding_rate(asset, hour)
        paid = (position.szi * moment.mark(asset) * rate).quantize(Decimal("1e-6"))
        account.cash_usd -= paid
        if position.isolated_usd:
            position.isolated_usd -= paid
        position.funding_open_usd += paid
        position.funding_change_usd += paid
        account.funding_usd[index] = account.funding_usd.get(index, ZERO) + paid
        account.fundings.append(
            {
                "time": ended_ms,
                "hash": f"0x{'0' * 64}",
                "delta": {
                    "type": "funding",
                    "coin": asset.name,
                    "usdc": to_wire(-paid),
                    "szi": to_wire(position.szi),
                    "fundingRate": to_wire(rate),
                },
            }
        )
    del account.fundings[:-MAX_HISTORY]
