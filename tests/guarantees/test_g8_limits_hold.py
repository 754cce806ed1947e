"""G8: the exposure at the exchange never exceeds its limit, nor do the positions, whoever dies or is not answered."""

import pytest

from tests.guarantees.execution_storm import MAX_EXPOSURE_USD, MAX_POSITIONS, ExecutionAftermath
from tests.guarantees.record import record
from tests.guarantees.scale import IS_LONG

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(7200 if IS_LONG else 300),
    pytest.mark.xdist_group("executions"),
]


def test_limits_hold_at_the_exchange(executions: ExecutionAftermath) -> None:
    seen = executions.seen
    record(
        "G8",
        "killed at every step, answers lost",
        highest_exposure_usd=round(float(seen.exposure_usd), 2),
        max_exposure_usd=MAX_EXPOSURE_USD,
        most_positions=seen.positions,
        max_open_positions=MAX_POSITIONS,
    )
    assert 0 < seen.exposure_usd <= MAX_EXPOSURE_USD
    assert seen.positions <= MAX_POSITIONS
