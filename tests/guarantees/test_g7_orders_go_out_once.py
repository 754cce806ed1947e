"""G7: a crash or a lost answer between deciding and booking neither doubles an order nor orphans a position."""

import pytest

from tests.guarantees.execution_storm import ExecutionAftermath
from tests.guarantees.record import record
from tests.guarantees.scale import IS_LONG

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(7200 if IS_LONG else 300),
    pytest.mark.xdist_group("executions"),
]


def test_orders_go_out_once(executions: ExecutionAftermath) -> None:
    doubled, orphaned = executions.of("doubled"), executions.of("orphaned")
    others = [wrong for wrong in executions.wrongs if wrong not in doubled + orphaned]
    record(
        "G7",
        "killed at every step, answers lost",
        kills=executions.kills.total(),
        points=len([point for point in executions.kills if point != "anywhere"]),
        kills_at_points=executions.kills.total() - executions.kills["anywhere"],
        lost_answers=executions.lost_answers,
        orders_filled=executions.trades,
        doubled=len(doubled),
        orphaned=len(orphaned),
        differences=len(others),
    )
    assert executions.trades > 0
    assert executions.wrongs == []
