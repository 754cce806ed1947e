from collections.abc import AsyncIterator

import pytest

from tests.unit.simulator.bench import Bench
from tests.unit.simulator.served import Served, served


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
async def sim() -> AsyncIterator[Served]:
    async with served() as running:
        yield running
