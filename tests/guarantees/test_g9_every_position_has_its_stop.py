"""G9: every position of the bot's has a stop on the exchange within five seconds, or is closed."""

from pathlib import Path

import pytest

from tests.guarantees.execution_storm import ExecutionAftermath, robbed_again_and_again
from tests.guarantees.record import record
from tests.guarantees.scale import IS_LONG, SCALE, chance

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(7200 if IS_LONG else 300),
]

_STOPLESS_S = 5.0
_NOTICED_S = 10.0
"""Taken away by hand: the next look (here after 1 s), the one that makes sure, and a machine that does other work."""


@pytest.mark.xdist_group("executions")
def test_no_position_is_without_its_stop(executions: ExecutionAftermath) -> None:
    seen = executions.seen
    record("G9", "killed at every step, answers lost", longest_without_s=round(seen.stopless_s, 1))
    assert seen.stopless_s <= _STOPLESS_S


def test_a_stop_that_is_taken_away_is_there_again_or_the_position_is_closed(tmp_path: Path) -> None:
    waits_s = robbed_again_and_again(tmp_path, SCALE.stops_removed, chance("robbed"))
    record(
        "G9",
        "stops taken away by hand",
        taken_away=len(waits_s),
        longest_s=round(max(waits_s), 1),
        median_s=round(sorted(waits_s)[len(waits_s) // 2], 1),
    )
    assert len(waits_s) >= SCALE.stops_removed
    assert max(waits_s) <= _NOTICED_S
