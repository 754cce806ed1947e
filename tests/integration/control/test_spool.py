"""Commands as files, on the real inbox, dispatcher and journal, with the bot dying at each step."""

import asyncio
import errno
import json
import os
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from allora_mqtt.control.ordering import WaitingPolicy
from allora_mqtt.protocol.commands import Mode, Ping, SetConfig, SetMode
from allora_mqtt.protocol.errors import BotError, ErrorCode
from allora_mqtt.protocol.model import rfc3339
from allora_mqtt.settings import DefaultMode
from allora_mqtt.store.entries import Incoming, Recorded
from allora_mqtt.transport.spool import SpoolFolder
from tests.integration.control.bench import MODE, Bench, Clock, life

pytestmark = pytest.mark.usefixtures("engine")

STANDBY = {"name": "mode", "value": "STANDBY"}
ACTIVE = {"name": "mode", "value": "ACTIVE"}
PING = {"name": "ping"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "spool"
    SpoolFolder(made).make()
    return made


def drop(folder: Path, name: str, content: dict[str, Any] | bytes) -> None:
    """Put a command there as its sender does."""
    temporary = folder / "pending" / f".{name}.tmp"
    temporary.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    temporary.rename(folder / "pending" / name)


def listed(folder: Path) -> dict[str, list[str]]:
    return {name: names_in(folder / name) for name in ("pending", "processed", "failed")}


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def ended(folder: Path) -> list[str]:
    """Return `outcome/file` of everything that has ended, without the responses."""
    found = listed(folder)
    assert found["pending"] == []
    names = [(each, name) for each in ("processed", "failed") for name in found[each]]
    for each, name in names:
        assert name.endswith(".response.json") or f"{name}.response.json" in found[each]
    return [f"{each}/{name}" for each, name in names if not name.endswith(".response.json")]


def response(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / f"{name}.response.json").read_text())
    return found


async def until(look: Callable[[], Any]) -> None:
    async with asyncio.timeout(60):
        while not look():
            await asyncio.sleep(0.005)


async def emptied(folder: Path) -> None:
    await until(lambda: not names_in(folder / "pending"))


async def all_answered(bench: Bench) -> None:
    async with asyncio.timeout(60):
        while await bench.journal.unanswered():
            await asyncio.sleep(0.005)


async def test_a_file_is_a_command_and_ends_with_its_response_beside_it(
    tmp_path: Path, clock: Clock, folder: Path
) -> None:
    async with life(tmp_path, clock, spooling=True) as bench:
        bench.online()
        drop(folder, "on.json", {**ACTIVE, "id": "a", "source": "cron", "transaction": {"n": 1}})
        await emptied(folder)
        assert bench.mode() is Mode.ACTIVE
        assert ended(folder) == ["processed/1-on.json"]
        written = response(folder, "processed/1-on.json")
        assert (written["status"], written["id"], written["transaction"]) == ("EXECUTED", "a", {"n": 1})
        # Those who look at MQTT see it as well.
        assert [json.loads(each) for each in bench.wire.on("bot/response/mode")] == [written]
        assert json.loads(bench.wire.on("bot/last_command")[-1])["id"] == "a"
        assert bench.wire.on("bot/event/command")
        [row] = await bench.journal.history(10)
        assert (row["channel"], row["topic"]) == ("spool", "spool/on.json")
        await all_answered(bench)


async def test_nothing_is_needed_of_the_broker(tmp_path: Path, clock: Clock, folder: Path) -> None:
    async with life(tmp_path, clock, spooling=True) as bench:
        bench.wire.is_up = False
        drop(folder, "1.json", ACTIVE)
        drop(folder, "2.json", {"name": "config", "value": {"max_leverage": 3}})
        drop(folder, "3.json", {"name": "cryptos", "symbol": "BTC", "value": "ON"})
        await emptied(folder)
        assert bench.mode() is Mode.ACTIVE
        assert bench.dispatcher.desired.settings.max_leverage == 3
        assert ended(folder) == ["processed/1-1.json", "processed/2-2.json", "processed/3-3.json"]
        await all_answered(bench)


async def test_files_that_are_there_together_run_in_the_order_of_their_names(
    tmp_path: Path, clock: Clock, folder: Path
) -> None:
    for number in (3, 1, 2):
        drop(folder, f"{number}.json", {"name": "config", "value": {"max_leverage": number}})
    async with life(tmp_path, clock, spooling=True) as bench:
        await emptied(folder)
        assert [body.value["max_leverage"] for body in bench.handlers.ran if isinstance(body, SetConfig)] == [1, 2, 3]


async def test_standby_overtakes_what_is_under_way(tmp_path: Path, clock: Clock, folder: Path) -> None:
    async with life(tmp_path, clock, spooling=True, default_mode=DefaultMode.ACTIVE) as bench:
        bench.handlers.hold = asyncio.Event()
        drop(folder, "1.json", PING)
        await until(lambda: bench.handlers.prepared)
        drop(folder, "2.json", STANDBY)
        await until(lambda: bench.mode() is Mode.STANDBY)
        assert bench.handlers.ran == [SetMode(value=Mode.STANDBY)]
        bench.handlers.hold.set()
        await emptied(folder)


async def test_standby_blocks_entries_though_the_journal_takes_nothing(
    tmp_path: Path, clock: Clock, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with life(tmp_path, clock, spooling=True, default_mode=DefaultMode.ACTIVE) as bench:

        def refuse(_incoming: Incoming, _place: int) -> asyncio.Future[Recorded]:
            refused: asyncio.Future[Recorded] = asyncio.get_running_loop().create_future()
            refused.set_exception(BotError(ErrorCode.STORE_UNAVAILABLE, "The disk is full."))
            return refused

        monkeypatch.setattr(bench.journal, "record", refuse)
        drop(folder, "1.json", STANDBY)
        await until(lambda: bench.handlers.prepared == [SetMode(value=Mode.STANDBY)])
        monkeypatch.undo()
        await emptied(folder)
        assert bench.mode() is Mode.STANDBY


@pytest.mark.parametrize("first", ["spool", "mqtt"])
async def test_a_command_sent_both_ways_runs_once(tmp_path: Path, clock: Clock, folder: Path, first: str) -> None:
    async with life(tmp_path, clock, spooling=True) as bench:
        bench.online()
        for way in (first, "mqtt" if first == "spool" else "spool"):
            if way == "spool":
                drop(folder, "a.json", {**PING, "id": "a"})
            else:
                bench.deliver("bot/request/ping", {"id": "a"})
            await bench.quiet()
        assert sorted(await bench.outcomes(2)) == ["DUPLICATE", "EXECUTED"]
        assert bench.handlers.ran == [Ping()]
        await emptied(folder)
        assert len(ended(folder)) == 1


async def test_a_file_with_an_id_that_has_run_is_a_duplicate(tmp_path: Path, clock: Clock, folder: Path) -> None:
    async with life(tmp_path, clock, spooling=True) as bench:
        for name in ("1.json", "2.json"):
            drop(folder, name, {**PING, "id": "a"})
            await emptied(folder)
        assert ended(folder) == ["processed/1-1.json", "processed/2-2.json"]
        assert response(folder, "processed/2-2.json")["data"]["first"]["status"] == "EXECUTED"
        assert len(bench.handlers.ran) == 1


async def test_the_same_file_dropped_again_without_an_id_is_a_new_command(
    tmp_path: Path, clock: Clock, folder: Path
) -> None:
    async with life(tmp_path, clock, spooling=True) as bench:
        for _ in range(3):
            drop(folder, "ping.json", PING)
            await emptied(folder)
        assert ended(folder) == ["processed/1-ping.json", "processed/2-ping.json", "processed/3-ping.json"]
        assert len(bench.handlers.ran) == 3


async def test_the_same_file_dropped_again_while_the_first_is_under_way_is_a_new_command(
    tmp_path: Path, clock: Clock, folder: Path
) -> None:
    async with life(tmp_path, clock, spooling=True) as bench:
        bench.handlers.hold = asyncio.Event()
        drop(folder, "ping.json", PING)
        await until(lambda: bench.handlers.prepared)
        drop(folder, "ping.json", PING)
        bench.handlers.hold.set()
        await emptied(folder)
        assert len(bench.handlers.ran) == 2
        found = listed(folder)["processed"]
        assert found == ["1-ping.json.response.json", "2-ping.json", "2-ping.json.response.json"]


async def test_a_file_that_is_met_by_two_looks_at_once_is_taken_once(
    tmp_path: Path, clock: Clock, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = SpoolFolder.read

    def read_slowly(spool: SpoolFolder, name: str) -> Any:
        time.sleep(0.2)
        return read(spool, name)

    async with life(tmp_path, clock, spooling=True) as bench:
        bench.handlers.hold = asyncio.Event()
        drop(folder, "1.json", PING)
        await until(lambda: bench.handlers.prepared)
        drop(folder, "1.json", PING)
        monkeypatch.setattr(SpoolFolder, "read", read_slowly)
        # The end of the first looks for the second, while the watch has noticed the third.
        bench.handlers.hold.set()
        await until(lambda: bench.handlers.ran)
        drop(folder, "2.json", PING)
        await emptied(folder)
        assert len(bench.handlers.ran) == 3
        assert len(await bench.journal.history(10)) == 3


@pytest.mark.parametrize(
    ("content", "code", "name"),
    [
        (b"", "BAD_JSON", "unknown"),
        (b"\x00\xff\x7fELF", "BAD_JSON", "unknown"),
        (b'{"name":"mode","value":"' + b"x" * 70_000 + b'"}', "TOO_LARGE", "unknown"),
        (b'{"name":"mode","value":"FAST"}', "BAD_VALUE", "mode"),
        (b'{"name":"jump"}', "UNSUPPORTED_ACTION", "unknown"),
    ],
)
async def test_bad_files_end_in_failed_and_in_the_journal(
    tmp_path: Path, clock: Clock, folder: Path, content: bytes, code: str, name: str
) -> None:
    async with life(tmp_path, clock, spooling=True) as bench:
        drop(folder, "bad.json", content)
        await emptied(folder)
        assert ended(folder) == ["failed/1-bad.json"]
        assert (folder / "failed" / "1-bad.json").read_bytes() == content
        assert response(folder, "failed/1-bad.json")["error"]["code"] == code
        [row] = await bench.journal.history(10)
        assert (row["status"], row["name"], row["channel"]) == ("REJECTED", name, "spool")
        # And the next one runs.
        drop(folder, "good.json", PING)
        await emptied(folder)
        assert bench.handlers.ran == [Ping()]


async def test_what_is_no_file_ends_in_failed_and_the_rest_runs(tmp_path: Path, clock: Clock, folder: Path) -> None:
    (folder / "pending" / "1-folder").mkdir()
    os.mkfifo(folder / "pending" / "2-pipe")
    (folder / "pending" / "3-link").symlink_to("/etc/hostname")
    drop(folder, "4-ping", PING)
    drop(folder, os.fsdecode(b"5-\xff\n"), PING)
    async with life(tmp_path, clock, spooling=True) as bench:
        await emptied(folder)
        assert len(bench.handlers.ran) == 2
        assert ended(folder) == [
            "processed/4-4-ping",
            "processed/5-5-\\xff\n",
            "failed/1-1-folder",
            "failed/2-2-pipe",
            "failed/3-3-link",
        ]
        await all_answered(bench)


async def test_a_file_that_was_there_at_start_has_waited_and_later_ones_have_not(
    tmp_path: Path, clock: Clock, folder: Path
) -> None:
    drop(folder, "1.json", ACTIVE)
    async with life(tmp_path, clock, spooling=True, policy=WaitingPolicy("reject", 60)) as bench:
        await emptied(folder)
        assert response(folder, "failed/1-1.json")["error"]["code"] == "STALE_ACTIVATION"
        drop(folder, "2.json", ACTIVE)
        await emptied(folder)
        assert bench.mode() is Mode.ACTIVE


async def test_the_last_words_are_written_before_the_bot_ends(tmp_path: Path, clock: Clock, folder: Path) -> None:
    async with life(tmp_path, clock, spooling=True) as bench:
        drop(folder, "1.json", PING)
        await until(lambda: bench.handlers.ran)
        await bench.quiet()
        await bench.spool.finish()
        assert ended(folder) == ["processed/1-1.json"]


async def test_at_a_reconnect_only_answers_to_messages_are_sent_again(
    tmp_path: Path, clock: Clock, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async with life(tmp_path, clock, spooling=True) as bench:
        monkeypatch.setattr(SpoolFolder, "end", full)
        bench.online()
        drop(folder, "1.json", PING)
        await bench.outcomes(1)
        await bench.dispatcher.republish_answers()
        await bench.quiet()
        assert len(bench.responses()) == 1
        assert [entry.seq for entry in await bench.journal.unanswered()] == [1]


# Crashes: a life ends without a word at each of the steps.


async def test_crash_before_the_journal(tmp_path: Path, clock: Clock, folder: Path) -> None:
    async with life(tmp_path, clock):
        drop(folder, "1.json", PING)
    async with life(tmp_path, clock, spooling=True) as second:
        await emptied(folder)
        assert second.handlers.ran == [Ping()]


@pytest.mark.parametrize("meanwhile", ["the same file", "another file", "no file"])
async def test_crash_between_journal_and_run(tmp_path: Path, clock: Clock, folder: Path, meanwhile: str) -> None:
    async with life(tmp_path, clock, spooling=True) as first:
        first.handlers.hold = asyncio.Event()
        drop(folder, "1.json", {**PING, "transaction": "t"})
        await until(lambda: first.handlers.prepared)
    replace_pending(folder, meanwhile)
    async with life(tmp_path, clock, spooling=True) as second:
        await emptied(folder)
        await all_answered(second)
        assert response(folder, "processed/1-1.json")["transaction"] == "t"
        expect_ends(folder, second, meanwhile, ran=1)


@pytest.mark.parametrize("meanwhile", ["the same file", "another file", "no file"])
@pytest.mark.parametrize("step", ["run", "response written"])
async def test_crash_between_run_and_move(
    tmp_path: Path, clock: Clock, folder: Path, monkeypatch: pytest.MonkeyPatch, meanwhile: str, step: str
) -> None:
    end = SpoolFolder.end

    def die(spool: SpoolFolder, seq: int, name: str, file: Any, outcome: str, response: bytes) -> None:
        del file
        if step == "response written":
            end(spool, seq, name, None, outcome, response)
        raise OSError(errno.EIO, "dead")

    with monkeypatch.context() as dying:
        dying.setattr(SpoolFolder, "end", die)
        async with life(tmp_path, clock, spooling=True) as first:
            drop(folder, "1.json", PING)
            await until(lambda: first.handlers.ran)
            await until(lambda: step == "run" or listed(folder)["processed"])
            await first.quiet()
    assert listed(folder)["pending"] == ["1.json"]
    replace_pending(folder, meanwhile)
    async with life(tmp_path, clock, spooling=True) as second:
        await emptied(folder)
        await all_answered(second)
        expect_ends(folder, second, meanwhile, ran=0)


@pytest.mark.parametrize("meanwhile", ["the same bytes again", "no file"])
async def test_crash_between_move_and_journal(
    tmp_path: Path, clock: Clock, folder: Path, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    async with life(tmp_path, clock, spooling=True) as first:
        monkeypatch.setattr(first.journal, "answered", lambda _seqs: None)
        drop(folder, "1.json", PING)
        await emptied(folder)
        await first.quiet()
    if meanwhile == "the same bytes again":
        drop(folder, "1.json", PING)
    async with life(tmp_path, clock, spooling=True) as second:
        await emptied(folder)
        await all_answered(second)
        again = meanwhile == "the same bytes again"
        assert len(second.handlers.ran) == again
        assert ended(folder) == ["processed/1-1.json", "processed/2-1.json"][: 1 + again]


async def test_an_action_that_was_running_at_the_crash_is_not_run_twice(
    tmp_path: Path, clock: Clock, folder: Path
) -> None:
    async with life(tmp_path, clock, spooling=True) as first:
        first.handlers.hold = asyncio.Event()
        drop(folder, "1.json", {"name": "activate_set"})
        await until(lambda: first.handlers.prepared)
        await first.quiet()
    async with life(tmp_path, clock, spooling=True) as second:
        await emptied(folder)
        assert second.handlers.ran == []
        assert response(folder, "failed/1-1.json")["error"]["code"] == "INTERRUPTED"


async def test_files_are_not_taken_while_it_is_unknown_which_were_taken_before(
    tmp_path: Path, clock: Clock, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with life(tmp_path, clock, spooling=True) as first:
        first.handlers.hold = asyncio.Event()
        drop(folder, "1.json", PING)
        await until(lambda: first.handlers.prepared)
    monkeypatch.setattr("allora_mqtt.control.spool._RETRY_S", 0.05)
    read, failures = SpoolFolder.read, iter([OSError(errno.EMFILE, "too many open files")] * 3)

    def fail_first(spool: SpoolFolder, name: str) -> Any:
        for failure in failures:
            raise failure
        return read(spool, name)

    monkeypatch.setattr(SpoolFolder, "read", fail_first)
    async with life(tmp_path, clock, spooling=True) as second:
        await emptied(folder)
        assert second.handlers.ran == [Ping()]
        assert ended(folder) == ["processed/1-1.json"]


async def test_a_full_disk_keeps_the_file_until_its_response_can_be_written(
    tmp_path: Path, clock: Clock, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("allora_mqtt.control.spool._RETRY_S", 0.05)
    tries: list[Path] = []

    def no_space(path: Path, _content: bytes) -> None:
        tries.append(path)
        raise OSError(errno.ENOSPC, "No space left on device")

    async with life(tmp_path, clock, spooling=True) as bench:
        with monkeypatch.context() as full:
            full.setattr("allora_mqtt.files.write_whole", no_space)
            drop(folder, "1.json", PING)
            await until(lambda: len(tries) >= 3)
            assert listed(folder) == {"pending": ["1.json"], "processed": [], "failed": []}
            assert [entry.seq for entry in await bench.journal.unanswered()] == [1]
        await emptied(folder)
        await all_answered(bench)
        assert bench.handlers.ran == [Ping()]
        assert ended(folder) == ["processed/1-1.json"]


def replace_pending(folder: Path, meanwhile: str) -> None:
    if meanwhile == "no file":
        (folder / "pending" / "1.json").unlink()
    elif meanwhile == "another file":
        drop(folder, "1.json", {"name": "ping", "id": "other"})


def expect_ends(folder: Path, bench: Bench, meanwhile: str, *, ran: int) -> None:
    found = listed(folder)["processed"]
    assert "1-1.json.response.json" in found
    assert ("1-1.json" in found) is (meanwhile == "the same file")
    assert ("2-1.json" in found) is (meanwhile == "another file")
    assert len(bench.handlers.ran) == ran + (meanwhile == "another file")


# Order: what comes by the spool while the line is down, against what waited in the broker.


@pytest.mark.parametrize("retained", [False, True])
async def test_a_standby_by_the_spool_and_an_active_that_waited_end_in_standby(
    tmp_path: Path, clock: Clock, folder: Path, *, retained: bool
) -> None:
    async with life(tmp_path, clock, spooling=True) as bench:
        drop(folder, "1.json", STANDBY)
        await emptied(folder)
        bench.connect()
        bench.deliver(MODE, "ACTIVE", retained=retained)
        bench.mailbox_read()
        assert await bench.outcomes(2) == ["EXECUTED", "AMBIGUOUS_ORDER"]
        assert bench.mode() is Mode.STANDBY


async def test_an_active_by_the_spool_and_a_standby_in_the_mailbox_end_in_standby(
    tmp_path: Path, clock: Clock, folder: Path
) -> None:
    async with life(tmp_path, clock, spooling=True) as bench:
        drop(folder, "1.json", ACTIVE)
        await emptied(folder)
        bench.connect()
        bench.deliver(MODE, "STANDBY", retained=True)
        bench.mailbox_read()
        assert await bench.outcomes(2) == ["EXECUTED", "EXECUTED"]
        assert bench.mode() is Mode.STANDBY


@pytest.mark.parametrize(
    ("queued_later_s", "outcome", "mode"), [(-30, "SUPERSEDED", "STANDBY"), (30, "EXECUTED", "ACTIVE")]
)
async def test_issue_times_decide_between_spool_and_queue(
    tmp_path: Path, clock: Clock, folder: Path, queued_later_s: int, outcome: str, mode: str
) -> None:
    issued = clock()
    async with life(tmp_path, clock, spooling=True) as bench:
        drop(folder, "1.json", {**STANDBY, "issued_at": rfc3339(issued)})
        await emptied(folder)
        clock.advance(60)
        bench.connect()
        bench.deliver(MODE, {"value": "ACTIVE", "issued_at": rfc3339(issued + timedelta(seconds=queued_later_s))})
        bench.mailbox_read()
        assert await bench.outcomes(2) == ["EXECUTED", outcome]
        assert bench.mode() == mode


async def test_a_line_that_was_dead_already_when_the_file_came_counts_as_down(
    tmp_path: Path, clock: Clock, folder: Path
) -> None:
    async with life(tmp_path, clock, spooling=True) as bench:
        bench.online()
        # The broker hangs: nobody has noticed yet, and an ACTIVE lies there.
        bench.wire.acknowledges = False
        drop(folder, "1.json", STANDBY)
        await emptied(folder)
        bench.wire.acknowledges = True
        bench.connect()
        bench.deliver(MODE, "ACTIVE")
        bench.mailbox_read()
        assert await bench.outcomes(2) == ["EXECUTED", "AMBIGUOUS_ORDER"]


@pytest.mark.parametrize(
    ("by_file", "queued"),
    [
        ({"name": "mode", "value": "STANDBY"}, (MODE, "ACTIVE")),
        ({"name": "cryptos", "symbol": "BTC", "value": "OFF"}, ("bot/cryptos/BTC/set", "ON")),
        ({"name": "config", "value": {"max_leverage": 1}}, ("bot/config/max_leverage/set", "4")),
    ],
)
async def test_what_came_by_the_spool_while_the_broker_was_away_is_known_after_a_restart(
    tmp_path: Path, clock: Clock, folder: Path, by_file: dict[str, Any], queued: tuple[str, str]
) -> None:
    async with life(tmp_path, clock, spooling=True) as first:
        first.wire.is_up = False
        drop(folder, "1.json", by_file)
        await emptied(folder)
    async with life(tmp_path, clock, spooling=True) as second:
        second.connect()
        second.deliver(*queued)
        second.mailbox_read()
        assert await second.outcomes(1) == ["AMBIGUOUS_ORDER"]
        await second.quiet()
    async with life(tmp_path, clock, spooling=True) as third:
        third.connect()
        third.deliver(*queued)
        third.mailbox_read()
        # Sent again, as it was told: by now the broker has been heard.
        assert await third.outcomes(1) == ["EXECUTED"]


async def test_a_restart_after_the_broker_had_the_response_forgets_the_file(
    tmp_path: Path, clock: Clock, folder: Path
) -> None:
    async with life(tmp_path, clock, spooling=True) as first:
        first.online()
        drop(folder, "1.json", STANDBY)
        await emptied(folder)
        await first.quiet()
    async with life(tmp_path, clock, spooling=True) as second:
        second.connect()
        second.deliver(MODE, "ACTIVE")
        second.mailbox_read()
        assert await second.outcomes(1) == ["EXECUTED"]


async def test_once_the_broker_has_the_response_what_waits_there_later_is_newer(
    tmp_path: Path, clock: Clock, folder: Path
) -> None:
    async with life(tmp_path, clock, spooling=True) as bench:
        bench.online()
        drop(folder, "1.json", STANDBY)
        await emptied(folder)
        await bench.quiet()
        bench.connect()
        bench.deliver(MODE, "ACTIVE")
        bench.mailbox_read()
        assert await bench.outcomes(2) == ["EXECUTED", "EXECUTED"]
        assert bench.mode() is Mode.ACTIVE


async def test_what_an_earlier_life_took_from_the_broker_does_not_undo_a_file(
    tmp_path: Path, clock: Clock, folder: Path
) -> None:
    async with life(tmp_path, clock) as first:
        first.online()
        first.handlers.hold = asyncio.Event()
        first.deliver("bot/config/max_leverage/set", "4")
        await first.quiet()
    async with life(tmp_path, clock, spooling=True) as second:
        drop(folder, "1.json", {"name": "config", "value": {"max_leverage": 1}})
        await emptied(folder)
        second.online()
        assert sorted(await second.outcomes(2)) == ["AMBIGUOUS_ORDER", "EXECUTED"]
        assert second.dispatcher.desired.settings.max_leverage == 1


async def test_a_pair_takes_no_file_that_the_other_could_run_again(tmp_path: Path, clock: Clock, folder: Path) -> None:
    def in_a_pair(bench: Bench) -> None:
        bench.spool._needs_ids = True

    drop(folder, "1.json", PING)
    drop(folder, "2.json", {**PING, "id": "mine"})
    drop(folder, "3.json", STANDBY)
    async with life(tmp_path, clock, before_load=in_a_pair, spooling=True):
        await emptied(folder)
    found = ended(folder)
    assert [name.rpartition("-")[2] for name in found] == ["2.json", "3.json", "1.json"]
    (failed,) = [name for name in found if name.startswith("failed/")]
    error = response(folder, failed)["error"]
    assert error["code"] == "BAD_VALUE"
    assert 'needs an "id"' in error["message"]
