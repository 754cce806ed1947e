import pytest

from tests.integration.control.bench import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()
