"""G9: every position of the bot's has a stop on the exchange within five seconds, or is closed."""

from pathlib import Path

import pytest

from tests.guarantees.execution_storm import ExecutionAftermath, robbed_again_and_again
from tests.guarantees.record import record
from tests.guarantees.scale import IS_LONG, SCALE, chance
from tests.guarantees.watched_account import Seen

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(7200 if IS_LONG else 300),
]

_STOPLESS_S = 5.0
_ROBBED_S = 15.0
"""Taken away by hand: until the next look (here after 1 s, or after 10 s when the exchange has just said that it was
asked too often), the one that makes sure, and what goes wrong meanwhile."""
_QUICK_S = 0.5
"""A machine that takes longer than this for one look at the exchange is allowed more for everything else too."""


@pytest.mark.xdist_group("executions")
def test_no_position_is_without_its_stop(executions: ExecutionAftermath) -> None:
    seen = executions.seen
    record(
        "G9",
        "killed at every step, answers lost",
        longest_without_s=round(seen.stopless_s, 1),
        slowest_look_s=round(seen.slowest_look_s, 1),
    )
    assert seen.stopless_s <= _STOPLESS_S * _slowness(seen)


def test_a_stop_that_is_taken_away_is_there_again_or_the_position_is_closed(tmp_path: Path) -> None:
    seen = robbed_again_and_again(tmp_path, SCALE.stops_removed, chance("robbed"))
    waits_s = seen.restored_s
    record(
        "G9",
        "stops taken away by hand",
        taken_away=len(waits_s),
        longest_s=round(max(waits_s), 1),
        median_s=round(sorted(waits_s)[len(waits_s) // 2], 1),
        slowest_look_s=round(seen.slowest_look_s, 1),
    )
    assert len(waits_s) >= SCALE.stops_removed
    assert max(waits_s) <= _ROBBED_S * _slowness(seen)


def _slowness(seen: Seen) -> float:
    return max(1.0, seen.slowest_look_s / _QUICK_S)
