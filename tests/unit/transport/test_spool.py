"""The spool's folders, with everything in them that somebody can put there."""

import asyncio
import os
import socket
import stat
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import pytest

from allora_mqtt.protocol.spool import MAX_FILE_BYTES
from allora_mqtt.transport.spool import SpoolFolder


@pytest.fixture
def folder(tmp_path: Path) -> SpoolFolder:
    made = SpoolFolder(tmp_path / "spool")
    made.make()
    return made


@pytest.fixture
def pending(folder: SpoolFolder) -> Path:
    return Path(str(folder)) / "pending"


async def next_change(changes: AsyncGenerator[None, None], within_s: float = 3) -> None:
    async with asyncio.timeout(within_s):
        await anext(changes)


async def seen(folder: SpoolFolder, changes: AsyncGenerator[None, None], name: str) -> None:
    async with asyncio.timeout(3):
        async for _ in changes:
            if name in folder.names():
                return


def test_the_folders_are_for_the_bots_user_alone(folder: SpoolFolder, pending: Path) -> None:
    for made in (pending.parent, pending, pending.parent / "processed", pending.parent / "failed"):
        assert stat.S_IMODE(made.stat().st_mode) == 0o700
    pending.chmod(0o770)
    folder.make()
    assert stat.S_IMODE(pending.stat().st_mode) == 0o770


async def test_a_file_is_noticed_however_soon_it_comes(folder: SpoolFolder, pending: Path) -> None:
    async with aclosing(folder.changes()) as changes:
        await next_change(changes)
        # From the first sign on nothing is missed, though nobody waits for it yet.
        for number in range(20):
            (pending / ".x.tmp").write_text("{}")
            (pending / ".x.tmp").rename(pending / f"{number}.json")
            await next_change(changes)
            assert folder.names() == [f"{number}.json"]
            (pending / f"{number}.json").unlink()


async def test_a_name_that_is_no_text_blinds_the_watch_for_a_moment_only(
    folder: SpoolFolder, pending: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("allora_mqtt.transport.spool._LOOK_AGAIN_MS", 60_000)
    monkeypatch.setattr("allora_mqtt.transport.spool._RETRY_S", 0.05)
    async with aclosing(folder.changes()) as changes:
        await next_change(changes)
        (pending / os.fsdecode(b"\xff.json")).write_text("{}")
        await seen(folder, changes, "\\xff.json")
        assert "cannot be watched" in caplog.text
        folder.end(1, "\\xff.json", folder.read("\\xff.json"), "failed", b"{}")
        (pending / "x.json").write_text("{}")
        await seen(folder, changes, "x.json")


async def test_what_is_still_being_written_wakes_nobody(folder: SpoolFolder, pending: Path) -> None:
    async with aclosing(folder.changes()) as changes:
        await next_change(changes)
        (pending / ".x.tmp").write_text("{}")
        (pending / "y.tmp").write_text("{}")
        with pytest.raises(TimeoutError):
            await next_change(changes, 0.5)
        assert folder.names() == []


async def test_a_folder_that_was_taken_away_is_made_again_and_watched_again(
    folder: SpoolFolder, pending: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("allora_mqtt.transport.spool._RETRY_S", 0.05)
    (pending / ".").rmdir()
    (pending.parent / "pending").write_text("in the way")
    async with aclosing(folder.changes()) as changes:
        await next_change(changes)
        await next_change(changes)
        (pending.parent / "pending").unlink()
        await next_change(changes)
        assert folder.names() == []
    assert len([record for record in caplog.records if "cannot be watched" in record.message]) == 1


async def test_a_folder_that_is_exchanged_for_another_is_watched_from_then_on(
    folder: SpoolFolder, pending: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("allora_mqtt.transport.spool._LOOK_AGAIN_MS", 50)
    async with aclosing(folder.changes()) as changes:
        await next_change(changes)
        (pending / ".").rename(pending.parent / "old")
        # From the watch on the new folder nothing comes but what happens there.
        monkeypatch.setattr("allora_mqtt.transport.spool._LOOK_AGAIN_MS", 60_000)
        await next_change(changes)
        change = asyncio.ensure_future(anext(changes))
        assert not (await asyncio.wait([change], timeout=0.3))[0]
        (pending / "x.json").write_text("{}")
        async with asyncio.timeout(3):
            await change
        assert folder.names() == ["x.json"]


def test_names_come_in_their_order_whatever_their_bytes(folder: SpoolFolder, pending: Path) -> None:
    (pending / os.fsdecode(b"2-\xff.json")).write_text("odd")
    for name in ("3.json", "1.json", ".hidden", "late.tmp"):
        (pending / name).write_text("{}")
    assert folder.names() == ["1.json", "2-\\xff.json", "3.json"]
    odd = folder.read("2-\\xff.json")
    assert odd is not None
    assert odd.content == b"odd"
    folder.end(1, odd.name, odd, "processed", b"{}")
    assert folder.names() == ["1.json", "3.json"]
    assert (pending.parent / "processed" / "1-2-\\xff.json").read_text() == "odd"


def test_a_file_is_read_no_further_than_it_may_be_long(folder: SpoolFolder, pending: Path) -> None:
    with (pending / "huge.json").open("wb") as huge:
        huge.truncate(10**12)
    found = folder.read("huge.json")
    assert found is not None
    assert len(found.content) == MAX_FILE_BYTES + 1


@pytest.mark.parametrize("kind", ["pipe", "folder", "link", "dangling link", "socket"])
def test_what_is_no_file_is_refused_unopened_and_moved(folder: SpoolFolder, pending: Path, kind: str) -> None:
    secret = pending.parent.parent / "secret"
    secret.write_text('{"name":"ping"}')
    path = pending / "x.json"
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
            (path / "inside").write_text("{}")
        case "link":
            path.symlink_to(secret)
        case "dangling link":
            path.symlink_to("nowhere")
        case "socket":
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(path))
    found = folder.read("x.json")
    assert found is not None
    assert found.refusal is not None
    assert (found.content, found.refusal.code) == (b"", "BAD_VALUE")
    assert kind.rsplit(maxsplit=1)[-1] in found.refusal.message
    if kind == "folder":
        (path / "one more").write_text("{}")
    folder.end(5, "x.json", found, "failed", b"{}")
    assert folder.names() == []
    assert os.path.lexists(pending.parent / "failed" / "5-x.json")
    assert secret.exists()


def test_a_file_that_may_not_be_read_is_refused(folder: SpoolFolder, pending: Path) -> None:
    path = pending / "x.json"
    path.write_text('{"name":"ping"}')
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    found = folder.read("x.json")
    assert found is not None
    assert found.refusal is not None
    assert "Permission denied" in found.refusal.message


def test_a_file_that_is_gone_is_nothing(folder: SpoolFolder) -> None:
    assert folder.read("x.json") is None
    assert not folder.is_there("x.json")


def test_the_response_is_there_before_the_file_moves(
    folder: SpoolFolder, pending: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pending / "x.json").write_text("{}")
    found = folder.read("x.json")
    seen: list[list[str]] = []
    move = Path.rename

    def look_and_move(path: Path, target: Path) -> Path:
        seen.append(sorted(each.name for each in target.parent.iterdir()))
        return move(path, target)

    monkeypatch.setattr(Path, "rename", look_and_move)
    folder.end(3, "x.json", found, "processed", b"{}")
    assert seen == [["3-x.json.response.json"]]
    assert folder.has_ended(3, "x.json")
    assert not folder.has_ended(4, "x.json")


@pytest.mark.parametrize("how", ["another file", "the same bytes", "written over"])
def test_a_file_that_was_replaced_is_not_moved_in_the_place_of_the_first(
    folder: SpoolFolder, pending: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    (pending / "x.json").write_text("first")
    found = folder.read("x.json")
    if how == "written over":
        (pending / "x.json").write_text("second")
    else:
        (pending / ".x.tmp").write_text("second" if how == "another file" else "first")
        (pending / ".x.tmp").rename(pending / "x.json")
    moved: list[Path] = []
    monkeypatch.setattr(Path, "rename", lambda path, _target: moved.append(path))
    folder.end(3, "x.json", found, "processed", b"{}")
    # Not even for a moment, in which the bot could die.
    assert moved == []
    assert folder.is_there("x.json")
    assert [path.name for path in (pending.parent / "processed").iterdir()] == ["3-x.json.response.json"]


def test_a_file_that_is_replaced_at_the_very_moment_of_the_move_is_put_back(
    folder: SpoolFolder, pending: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pending / "x.json").write_text("first")
    found = folder.read("x.json")
    (pending / ".x.tmp").write_text("second")
    move = Path.rename

    def replace_and_move(path: Path, target: Path) -> Path:
        if (pending / ".x.tmp").exists():
            move(pending / ".x.tmp", pending / "x.json")
        return move(path, target)

    monkeypatch.setattr(Path, "rename", replace_and_move)
    folder.end(3, "x.json", found, "processed", b"{}")
    assert (pending / "x.json").read_text() == "second"
    assert not folder.has_ended(3, "x.json")


def test_ending_again_after_half_of_it_does_the_rest(folder: SpoolFolder, pending: Path) -> None:
    (pending / "x.json").write_text("{}")
    found = folder.read("x.json")
    folder.end(3, "x.json", None, "processed", b"{}")
    assert folder.is_there("x.json")
    folder.end(3, "x.json", found, "processed", b"{}")
    assert folder.has_ended(3, "x.json")
    folder.end(3, "x.json", found, "processed", b"{}")
    assert sorted(path.name for path in (pending.parent / "processed").iterdir()) == [
        "3-x.json",
        "3-x.json.response.json",
    ]
