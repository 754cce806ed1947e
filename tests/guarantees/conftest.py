"""The storms that several promises are judged by; each is lived through once."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.guarantees.execution_storm import ExecutionAftermath, execution_storm
from tests.guarantees.scale import SCALE, chance
from tests.guarantees.storm import Aftermath, stormed
from tests.support.mosquitto import MOSQUITTO, Mosquitto
from tests.support.postgres import running_postgres

STORMS = [
    pytest.param("mosquitto, MQTT 5", marks=pytest.mark.xdist_group("storm on MQTT 5")),
    pytest.param("mosquitto, MQTT 3.1.1", marks=pytest.mark.xdist_group("storm on MQTT 3.1.1")),
    pytest.param("mosquitto, PostgreSQL, MQTT 5", marks=pytest.mark.xdist_group("storm on PostgreSQL")),
    pytest.param("own broker, MQTT 3.1.1", marks=pytest.mark.xdist_group("storm on our own broker")),
]


@pytest.fixture(scope="session", params=STORMS)
def storm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Aftermath]]:
    """Where a storm was, and what it left."""
    where: str = request.param
    folder: Path = tmp_path_factory.mktemp("storm")
    mosquitto = postgres = None
    with ExitStack() as stack:
        if "PostgreSQL" in where:
            postgres = stack.enter_context(running_postgres())
        if where.startswith("mosquitto"):
            if MOSQUITTO is None:
                pytest.skip("mosquitto is not installed (apt-get install mosquitto)")
            mosquitto = Mosquitto(folder / "mosquitto")
            mosquitto.start()
            stack.callback(mosquitto.stop)
        version = where.rpartition(" ")[2]
        yield where, stack.enter_context(stormed(folder, where, version, mosquitto, postgres, SCALE))


@pytest.fixture(scope="session")
def executions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExecutionAftermath]:
    """What a day of deaths and lost answers in the middle of orders has left; three promises are judged by it."""
    with execution_storm(tmp_path_factory.mktemp("executions"), SCALE, chance("executions")) as after:
        yield after
