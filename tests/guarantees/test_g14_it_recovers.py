"""G14: whatever breaks and is mended again, the bot is well again without a person, and nothing is lost."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guarantees.recovery import COIN, Recovery, recovery
from tests.guarantees.scale import IS_LONG, SCALE
from tests.support.exchange import entries
from tests.support.mosquitto import MOSQUITTO, Mosquitto
from tests.support.net import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600 if IS_LONG else 120)]

_Surroundings = tuple[Recovery, Mosquitto, str]
_POLL_S = 2.5
"""A topic is asked for a new prediction this often at most."""
only_long = pytest.mark.skipif(not IS_LONG, reason="takes minutes; TORTURE=long tries it")


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("5", marks=pytest.mark.xdist_group("recovery on MQTT 5")),
        pytest.param("3.1.1", marks=[pytest.mark.xdist_group("recovery on MQTT 3.1.1"), only_long]),
    ],
)
def surroundings(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Surroundings]:
    """A bot that trades, whose broker may be killed; one for all faults, one after another."""
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed (apt-get install mosquitto)")
    folder: Path = tmp_path_factory.mktemp("recovery")
    mosquitto = Mosquitto(folder / "mosquitto")
    mosquitto.start()
    try:
        with recovery(folder, mosquitto, request.param) as ready:
            yield ready, mosquitto, f"MQTT {request.param}"
    finally:
        mosquitto.stop()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM] if IS_LONG else [signal.SIGKILL])
def test_the_broker_is_restarted(surroundings: _Surroundings, how: signal.Signals) -> None:
    ready, mosquitto, where = surroundings
    mosquitto.stop(how)
    # What is sent now waits with its sender: a broker that is killed may forget what it has just acknowledged.
    ready.send()
    time.sleep(SCALE.fault_s)
    ready.send()
    mosquitto.start()
    ready.prove(f"broker restarted after {how.name}, {where}", away_s=SCALE.fault_s)


def test_the_line_to_the_broker_is_cut(surroundings: _Surroundings) -> None:
    ready, _, where = surroundings
    ready.here.line.cut()
    ready.send()
    time.sleep(SCALE.outage_s)
    ready.here.line.mend()
    ready.prove(f"line cut, {where}", away_s=SCALE.outage_s)


@only_long
def test_the_line_to_the_broker_is_half_open(surroundings: _Surroundings) -> None:
    ready, _, where = surroundings
    ready.here.line.forget_lines()
    ready.send()
    # Nobody mends anything: the bot itself finds that the line is dead.
    ready.prove(f"line half open, {where}")


def test_the_line_to_the_broker_hangs_and_goes_on(surroundings: _Surroundings) -> None:
    ready, _, where = surroundings
    ready.here.line.stall()
    ready.send()
    time.sleep(SCALE.outage_s)
    ready.here.line.mend()
    ready.prove(f"line stalled, {where}", away_s=SCALE.outage_s)


def test_the_line_to_the_broker_trickles(surroundings: _Surroundings) -> None:
    ready, _, where = surroundings
    ready.here.line.trickle(20)
    ready.send()
    time.sleep(SCALE.outage_s)
    ready.here.line.mend()
    ready.prove(f"line trickles, {where}", slow_s=SCALE.outage_s)


TRANSPORT = ["http_429", "http_500", "http_503", "hang", "reset", "malformed"]


@pytest.mark.parametrize("kind", TRANSPORT if IS_LONG else ["http_503"])
def test_the_exchange_fails(surroundings: _Surroundings, kind: str) -> None:
    ready, _, where = surroundings
    rule = {"kind": kind} | ({"seconds": 5} if kind == "hang" else {})
    ready.here.exchange.faults({"path": "/info", **rule}, {"path": "/exchange", **rule})
    ready.send()
    until(ready.is_troubled, "that the bot has noticed", 60)
    time.sleep(SCALE.fault_s)
    ready.here.exchange.faults()
    ready.prove(f"exchange {kind}, {where}", failing_s=SCALE.fault_s)


@only_long
def test_the_exchange_is_killed(surroundings: _Surroundings) -> None:
    ready, _, where = surroundings
    ready.here.exchange.kill()
    ready.send()
    until(ready.is_troubled, "that the bot has noticed", 60)
    time.sleep(SCALE.fault_s)
    ready.here.exchange.start()
    ready.prove(f"exchange killed, {where}", away_s=SCALE.fault_s)


@pytest.mark.parametrize("kind", TRANSPORT if IS_LONG else ["reset"])
def test_allora_fails(surroundings: _Surroundings, kind: str) -> None:
    ready, _, where = surroundings
    ready.here.exchange.faults({"path": "/v2", "kind": kind} | ({"seconds": 5} if kind == "hang" else {}))
    ready.send()
    until(ready.is_troubled, "that the bot has noticed", 60)
    time.sleep(SCALE.fault_s)
    ready.here.exchange.faults()
    ready.prove(f"Allora {kind}, {where}", failing_s=SCALE.fault_s)


NONSENSE = [
    ("/v2", "absurd_prediction"),
    ("/info", "null_mids"),
    ("/v2", "nan_prediction"),
    ("/v2", "stale_prediction"),
]


@pytest.mark.parametrize(("path", "kind"), NONSENSE if IS_LONG else NONSENSE[:2])
def test_what_the_world_says_makes_no_sense(surroundings: _Surroundings, path: str, kind: str) -> None:
    ready, _, where = surroundings
    ready.here.exchange.faults({"path": path, "kind": kind})
    ready.send()
    # What was believable before may be traded on until the next poll.
    time.sleep(_POLL_S)
    ready.watcher.ask("close", symbol=COIN)
    before = len(ready.here.exchange.arrivals())
    time.sleep(_POLL_S + SCALE.fault_s)
    on_nonsense = entries(ready.here.exchange.arrivals()[before:])
    ready.here.exchange.faults()
    ready.prove(f"{kind}, {where}", entries_on_nonsense=len(on_nonsense))
    assert on_nonsense == []


def test_the_broker_comes_after_the_bot(tmp_path: Path) -> None:
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed (apt-get install mosquitto)")
    mosquitto = Mosquitto(tmp_path / "mosquitto")

    def start_broker() -> None:
        time.sleep(1)
        mosquitto.start()

    try:
        with recovery(tmp_path, mosquitto, "5", once_started=start_broker) as ready:
            ready.send()
            ready.prove("broker down at start, MQTT 5")
    finally:
        mosquitto.stop()
