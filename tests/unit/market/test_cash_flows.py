"""Money that came or went, by the lines of the exchange's ledger: recorded, documented, and unknown ones."""

from decimal import Decimal
from typing import Any

import pytest

from allora_mqtt.market.cash_flows import parse_cash_flows

ME = "0x" + "aB" * 20
OTHER = "0x" + "cd" * 20
MINE, THEIRS = {"user": ME.lower()}, {"user": OTHER}
TO_ME, TO_THEM = {"destination": ME.lower()}, {"destination": OTHER}
FROM_ME, FROM_THEM = MINE | TO_THEM, THEIRS | TO_ME


def amount(kind: str, *, unified: bool = False, **fields: Any) -> Decimal | None:
    line = {"time": 1732834706761, "hash": "0x1", "delta": {"type": kind, **fields}}
    (flow,) = parse_cash_flows([line], ME, unified=unified)
    assert (flow.kind, flow.time_ms) == (kind, 1732834706761)
    return flow.amount_usd


@pytest.mark.parametrize(
    ("kind", "fields", "separate", "unified"),
    [
        ("deposit", {"usdc": "2703997.4500000002"}, "2703997.4500000002", "2703997.4500000002"),
        ("withdraw", {"usdc": "999.0", "nonce": 1, "fee": "1.0"}, "-1000", "-1000"),
        ("internalTransfer", {"usdc": "5", "fee": "1", **FROM_ME}, "-6", "-6"),
        ("internalTransfer", {"usdc": "5", "fee": "1", **FROM_THEM}, "5", "5"),
        ("subAccountTransfer", {"usdc": "7.5", **FROM_ME}, "-7.5", "-7.5"),
        ("subAccountTransfer", {"usdc": "7.5", **FROM_THEM}, "7.5", "7.5"),
        ("accountClassTransfer", {"usdc": "12.0", "toPerp": False}, "-12", "0"),
        ("accountClassTransfer", {"usdc": "12.0", "toPerp": True}, "12", "0"),
        ("spotTransfer", {"token": "USDC", "amount": "10.5", "fee": "1.0", "feeToken": "", **FROM_ME}, "0", "-11.5"),
        ("spotTransfer", {"token": "HYPE", "amount": "10.5", "fee": "1.0", **FROM_ME}, "0", "0"),
        ("send", {"token": "USDC", "amount": "9", "sourceDex": "", "destinationDex": "", **FROM_THEM}, "9", "9"),
        (
            "send",
            {"token": "USDC", "amount": "9", "sourceDex": "spot", "destinationDex": "", **MINE, **TO_ME},
            "9",
            "0",
        ),
        (
            "send",
            {"token": "USDC", "amount": "9", "sourceDex": "", "destinationDex": "xyz", **MINE, **TO_ME},
            "-9",
            "-9",
        ),
        ("vaultDeposit", {"vault": OTHER, "usdc": "100"}, "-100", "-100"),
        ("vaultDeposit", {"vault": ME.lower(), "usdc": "100"}, "100", "100"),
        ("vaultCreate", {"vault": OTHER, "usdc": "100", "fee": "50"}, "-150", "-150"),
        ("vaultWithdraw", {"vault": OTHER, "netWithdrawnUsd": "90", "commission": "5", **MINE}, "90", "90"),
        ("vaultWithdraw", {"vault": ME.lower(), "netWithdrawnUsd": "90", "commission": "5", **THEIRS}, "-95", "-95"),
        ("vaultDistribution", {"vault": OTHER, "usdc": "3"}, "3", "3"),
        ("rewardsClaim", {"amount": "2", "token": "USDC"}, "0", "2"),
        ("liquidation", {"accountValue": "1.0", "leverageType": "Cross", "liquidatedPositions": []}, "0", "0"),
    ],
)
def test_what_came_in_is_above_zero(kind: str, fields: dict[str, Any], separate: str, unified: str) -> None:
    assert amount(kind, **fields) == Decimal(separate)
    assert amount(kind, unified=True, **fields) == Decimal(unified)


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"usdc": "-5.0"}, Decimal(-5)),
        ({"usdc": "5.0", **FROM_ME}, Decimal(-5)),
        ({"usdc": "5.0", **FROM_THEM}, Decimal(5)),
        ({"usdc": "5.0"}, None),
        ({"amount": "5.0", "token": "USDC"}, None),
    ],
)
def test_a_kind_that_is_not_known_counts_where_its_sign_is_clear(fields: dict[str, Any], found: Decimal | None) -> None:
    assert amount("lunarTransfer", **fields) == found


def test_a_line_is_the_same_however_often_it_is_told_and_unlike_its_neighbours() -> None:
    line = {"time": 1732834706761, "hash": "0x1", "delta": {"type": "deposit", "usdc": "5"}}
    lines = [
        line,
        line | {"hash": "0x2"},
        line | {"delta": {"usdc": "6", "type": "deposit"}},
        line | {"time": 1732834706762},
    ]
    ids = [flow.flow_id for flow in parse_cash_flows([*lines, *lines], ME, unified=False)]
    assert len(set(ids)) == 4
    assert ids[:4] == ids[4:]
    assert max(map(len, ids)) <= 64


@pytest.mark.parametrize(
    "delta",
    [
        {"type": "deposit"},
        {"type": "deposit", "usdc": "-5"},
        {"type": "deposit", "usdc": "NaN"},
        {"type": "internalTransfer", "usdc": None, **FROM_ME},
        {"usdc": "5"},
    ],
)
def test_a_line_that_cannot_be_read_is_an_error(delta: dict[str, Any]) -> None:
    with pytest.raises((ValueError, LookupError)):
        parse_cash_flows([{"time": 1732834706761, "hash": "0x1", "delta": delta}], ME, unified=False)
