"""What a service manager hears: the real datagrams, on a real socket."""

import asyncio
import uuid
from pathlib import Path

import pytest

from allora_mqtt.service_manager import Condition, ServiceManager
from tests.support.service_manager import Listening

WELL = Condition(is_ready=True, is_alive=True, said="STANDBY, online")
AWAY = Condition(is_ready=False, is_alive=True, said="STANDBY, offline: the MQTT broker does not answer")
ILL = Condition(is_ready=True, is_alive=False, said="STANDBY, online")


@pytest.fixture
def address(tmp_path: Path) -> str:
    return str(tmp_path / "notify")


async def told(manager: ServiceManager, *conditions: Condition, for_s: float = 0.4) -> None:
    """Run it for a while in each of these conditions, one after another."""
    past = [conditions[0]]
    manager.look = lambda: past[-1]
    task = asyncio.create_task(manager.run())
    for condition in conditions:
        past.append(condition)
        await asyncio.sleep(for_s)
    task.cancel()
    await asyncio.wait([task])


@pytest.mark.parametrize("name", ["a path", "@abstract"])
async def test_ready_is_said_once_and_life_as_long_as_there_is_some(tmp_path: Path, name: str) -> None:
    place = f"@{uuid.uuid4().hex}" if name == "@abstract" else tmp_path / "notify"
    with Listening(place) as systemd:
        manager = ServiceManager.of({"NOTIFY_SOCKET": systemd.address, "WATCHDOG_USEC": "150000"}, 1)
        await told(manager, WELL)
        assert systemd.all("READY") == ["1"]
        assert len(systemd.all("WATCHDOG")) > 3
        assert systemd.all("STATUS") == ["STANDBY, online"]
        manager.stopping()
        assert systemd.all("STOPPING") == ["1"]
        systemd.forget()
        await asyncio.wait_for(manager.run(), 1)
        assert systemd.said == []


async def test_the_start_may_take_as_long_as_the_loop_turns(address: str) -> None:
    with Listening(address) as systemd:
        task = asyncio.create_task(ServiceManager(address, 60).run())
        await asyncio.sleep(0.5)
        task.cancel()
        assert len(systemd.all("EXTEND_TIMEOUT_USEC")) >= 2
        assert systemd.all("STATUS") == ["Starting"]


async def test_a_bot_that_is_ill_gives_no_sign_of_life(address: str) -> None:
    with Listening(address) as systemd:
        manager = ServiceManager(address, 0.15)
        await told(manager, WELL, ILL)
        seen = systemd.all("WATCHDOG")
        await told(manager, ILL)
        assert systemd.all("WATCHDOG") == seen


async def test_a_broker_that_is_away_is_waited_for_at_the_start_and_no_reason_to_die_later(address: str) -> None:
    with Listening(address) as systemd:
        manager = ServiceManager(address, 0.15)
        await told(manager, AWAY)
        assert systemd.all("READY") == systemd.all("WATCHDOG") == []
        assert set(systemd.all("EXTEND_TIMEOUT_USEC")) == {"30000000"}
        assert systemd.all("STATUS") == [AWAY.said]
        await told(manager, WELL)
        systemd.forget()
        await told(manager, AWAY)
        assert systemd.all("WATCHDOG")
        assert systemd.all("EXTEND_TIMEOUT_USEC") == []


@pytest.mark.parametrize(
    ("environment", "watched"),
    [
        ({"WATCHDOG_USEC": "150000", "WATCHDOG_PID": "7"}, True),
        ({"WATCHDOG_USEC": "150000", "WATCHDOG_PID": "8"}, False),
        ({"WATCHDOG_USEC": "0"}, False),
        ({"WATCHDOG_USEC": "soon"}, False),
        ({}, False),
    ],
)
async def test_only_our_own_watchdog_is_fed(address: str, environment: dict[str, str], watched: bool) -> None:  # noqa: FBT001 - a parameter of the test
    with Listening(address) as systemd:
        await told(ServiceManager.of({"NOTIFY_SOCKET": address, **environment}, 7), WELL)
        assert bool(systemd.all("WATCHDOG")) is watched


async def test_without_anybody_to_tell_it_ends_at_once() -> None:
    manager = ServiceManager.of({"NOTIFY_SOCKET": "", "WATCHDOG_USEC": "150000"}, 1)
    await asyncio.wait_for(manager.run(), 1)
    manager.stopping()


async def test_a_socket_that_is_gone_ends_nothing(address: str, caplog: pytest.LogCaptureFixture) -> None:
    await told(ServiceManager(address, 0.15), WELL)
    assert "systemd cannot be told (READY=1" in caplog.text


async def test_a_status_is_one_line_whatever_it_says(address: str) -> None:
    with Listening(address) as systemd:
        await told(ServiceManager(address, None), Condition(is_ready=False, is_alive=False, said="no\nREADY=1"))
        assert systemd.all("STATUS") == ["no READY=1"]
        assert systemd.all("READY") == []
