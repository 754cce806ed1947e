"""G15: thousands of commands and predictions leave the bot as small as it was."""

import itertools
import json
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guarantees.record import record
from tests.guarantees.recovery import COIN, Recovery, recovery
from tests.guarantees.scale import IS_LONG, SCALE
from tests.guarantees.sender import Plan
from tests.support.footprint import Footprint
from tests.support.mosquitto import Mosquitto
from tests.support.net import until

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(SCALE.soak_s * 4 + 120),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc"),
]

_AT_ONCE = 50
"""Commands on the way at the same time."""
_LOOKS = 12
_MAX_GROWTH = 1.03 if IS_LONG else 1.10
"""Of memory from the middle of the run to its end; a short run still fills buffers that have their limits."""


@pytest.mark.parametrize("version", ["5", "3.1.1"] if IS_LONG else ["5"])
def test_it_stays_small(version: str, mosquitto: Mosquitto, tmp_path: Path) -> None:
    with recovery(tmp_path, mosquitto, version) as ready:
        _busy(ready, SCALE.soak_s / 5)
        middle, rows, size, signals = [], len(ready.audit.commands()), _database_kib(ready), _signals(ready)
        count = 0
        for _ in range(_LOOKS):
            count += _busy(ready, SCALE.soak_s * 0.8 / _LOOKS)
            middle.append(Footprint.of(ready.here.bot.pid))
        early, late = middle[: _LOOKS // 3], middle[-_LOOKS // 3 :]
        growth = _memory(late) / _memory(early)
        journaled = len(ready.audit.commands()) - rows
        record(
            "G15",
            f"mosquitto, MQTT {version}",
            seconds=SCALE.soak_s,
            commands=count,
            signals=_signals(ready) - signals,
            memory_kib=round(_memory(late)),
            memory_growth=round(growth, 4),
            memory_growth_bytes_a_command=round((_memory(late) - _memory(early)) * 1024 / count, 1),
            handles=f"{_most(early, 'handles')} -> {_most(late, 'handles')}",
            threads=f"{_most(early, 'threads')} -> {_most(late, 'threads')}",
            database_bytes_a_command=round((_database_kib(ready) - size) * 1024 / journaled),
        )
        assert count == journaled
        assert growth < _MAX_GROWTH
        # A connection to the exchange, or a thread of a pool that has its limit, more or less is in use at any moment.
        assert _most(late, "threads") <= _most(early, "threads") + 4
        assert _most(late, "handles") <= _most(early, "handles") + 4
        ready.prove(f"after a soak, MQTT {version}")


_NUMBERS: Iterator[int] = itertools.count()


def _busy(ready: Recovery, seconds: float) -> int:
    """Send as fast as the bot answers; returns how many commands that were."""
    until_then, count = time.monotonic() + seconds, 0
    while time.monotonic() < until_then:
        plans = [_plan(number) for number in itertools.islice(_NUMBERS, _AT_ONCE)]
        for plan in plans:
            ready.sender.send(plan)
        wanted = {plan.id for plan in plans}
        until(lambda wanted=wanted: wanted <= ready.sender.answered(), "answers", 60)  # type: ignore[misc] # a default, not an argument
        count += len(plans)
        ready.sender.forget()
        ready.watcher.forget()
    return count


def _plan(number: int) -> Plan:
    identifier = f"soak-{number}"
    topic, fields = (
        ("config/tp_ratio/set", {"value": 1 + number % 50 / 10}),
        ("request/ping", {}),
        ("request/close", {"symbol": COIN}),
        ("cryptos/SOL/set", {"value": "ON" if number % 8 == 3 else "OFF"}),
    )[number % 4]
    return Plan(identifier, topic, json.dumps({**fields, "id": identifier}), retain=number % 5 == 0 and "set" in topic)


def _memory(looks: list[Footprint]) -> float:
    return statistics.median(look.memory_kib for look in looks)


def _most(looks: list[Footprint], what: str) -> int:
    return max(int(getattr(look, what)) for look in looks)


def _database_kib(ready: Recovery) -> float:
    pages = ready.audit.ask("select page_count * page_size / 1024.0 from pragma_page_count, pragma_page_size")
    return float(str(pages[0][0]))


def _signals(ready: Recovery) -> int:
    return int(str(ready.audit.ask("select count(*) from signals")[0][0]))
