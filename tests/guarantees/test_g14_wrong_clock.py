"""G14, wrong clock: the bot's clock is set forward and back by hours and days while it runs."""

import time
from pathlib import Path

import pytest

from tests.guarantees.recovery import Recovery, recovery
from tests.guarantees.scale import IS_LONG, SCALE
from tests.support.clock import COMPILER, ShiftedClock
from tests.support.exchange import entries
from tests.support.mosquitto import Mosquitto
from tests.support.net import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

_HOUR_S = 3600
STEPS = {"3 h forward": 3 * _HOUR_S, "3 h back": -3 * _HOUR_S, "3 d forward": 72 * _HOUR_S, "3 d back": -72 * _HOUR_S}


@pytest.mark.skipif(COMPILER is None, reason="there is no C compiler to make a clock with (apt-get install gcc)")
@pytest.mark.parametrize("step", STEPS if IS_LONG else ["3 d forward"])
def test_the_clock_is_set_wrong_and_right_again(step: str, mosquitto: Mosquitto, tmp_path: Path) -> None:
    clock = ShiftedClock(tmp_path)
    with recovery(tmp_path, mosquitto, "5", LD_PRELOAD=clock.library, SHIFTED_CLOCK=clock.file) as ready:
        clock.shift(STEPS[step])
        ready.send()
        until(lambda: "WRONG_CLOCK" in _warnings(ready), "a word on the clock", 30)
        # What is held is held on, no entry is made, and who wants to get out gets out.
        before = ready.here.exchange.arrivals()
        time.sleep(SCALE.outage_s)
        held = ready.here.exchange.positions(ready.here.address(ready.watcher))
        flat = ready.watcher.ask("flatten", 60)
        assert flat["status"] == "EXECUTED", flat
        assert ready.here.exchange.positions(ready.here.address(ready.watcher)) == {}
        ready.activate()
        time.sleep(SCALE.fault_s)
        while_wrong = ready.here.exchange.arrivals()[len(before) :]
        assert entries(while_wrong) == []
        clock.shift(0)
        until(lambda: "WRONG_CLOCK" not in _warnings(ready), "that the clock is right again", 30)
        ready.prove(f"clock {step}, MQTT 5", wrong_s=SCALE.outage_s, closed_while_wrong=len(held))


def _warnings(ready: Recovery) -> set[str]:
    return {warning["code"] for warning in ready.watcher.json("status")["warnings"]}
