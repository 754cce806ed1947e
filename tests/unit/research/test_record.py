"""A recording: each price and prediction once, a file a day, whole lines."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from allora_mqtt.protocol.topics import Topics
from allora_mqtt.research.predictions import read_predictions
from allora_mqtt.research.prices import read_ticks
from allora_mqtt.research.problems import ResearchError
from allora_mqtt.research.record import Recorder

CATALOG = {
    "BTC": {"availability": "both", "max_leverage": 40, "topics": [{"id": 14, "kind": "price", "horizon": "8h"}]}
}


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def state(at: str, price: float | None = 50_000.5) -> bytes:
    nothing = dict.fromkeys(["volume_24h", "prediction", "gap_pct", "signal", "confidence", "position"])
    return json.dumps({"state": "ON", "topic_id": 14, "price": price, "updated_at": at, **nothing}).encode()


def signal(prediction_at: str, at: str, price: float | None = 51_000, topic_id: int = 14) -> bytes:
    fields: dict[str, Any] = {
        "signal_id": "1",
        "symbol": "BTC",
        "direction": "BUY",
        "gap_pct": 2,
        "prediction": price,
        "mark_price": 50_000,
        "topic_id": topic_id,
        "prediction_at": prediction_at,
        "acted": False,
        "reasons": [],
        "at": at,
    }
    return json.dumps(fields).encode()


DAY = "2026-11-20T10:00:0"


def fill(recorder: Recorder) -> None:
    recorder.take("bot/catalog", json.dumps(CATALOG).encode())
    recorder.take("bot/cryptos/BTC", state(f"{DAY}1Z"))
    recorder.take("bot/event/signal", signal(f"{DAY}0Z", f"{DAY}2.5Z"))


def test_each_price_and_prediction_is_kept_once(tmp_path: Path) -> None:
    with Recorder(tmp_path, Topics(), Time()) as recorder:
        fill(recorder)
        fill(recorder)
        recorder.take("bot/cryptos/BTC", state(f"{DAY}0Z", 1))  # an old one, retained
        recorder.take("bot/cryptos/BTC", state(f"{DAY}3Z"))
        recorder.take("bot/event/signal", signal(f"{DAY}0Z", f"{DAY}4Z"))
        assert (recorder.counts.prices, recorder.counts.predictions, recorder.counts.left_out) == (2, 1, 0)
    assert (tmp_path / "prices-2026-11-20.csv").read_text() == (
        "at,symbol,price\n2026-11-20T10:00:01.000Z,BTC,50000.5\n2026-11-20T10:00:03.000Z,BTC,50000.5\n"
    )
    assert (tmp_path / "predictions-2026-11-20.csv").read_text() == (
        "at,topic,symbol,horizon,price,known_at\n2026-11-20T10:00:00.000Z,14,BTC,8h,51000,2026-11-20T10:00:02.500Z\n"
    )
    (known,) = read_predictions([tmp_path / "predictions-2026-11-20.csv"], 0)
    assert known.known_at - known.prediction.at == 2.5


def test_a_second_recording_goes_on_where_the_first_was_torn(tmp_path: Path) -> None:
    with Recorder(tmp_path, Topics(), Time()) as recorder:
        fill(recorder)
    for path in tmp_path.iterdir():
        with path.open("ab") as file:
            file.write(b"2026-11-20T10:00:09Z,BT" * 20)
    with Recorder(tmp_path, Topics(), Time()) as recorder:
        fill(recorder)
        assert (recorder.counts.prices, recorder.counts.predictions) == (0, 0)
        recorder.take("bot/cryptos/BTC", state(f"{DAY}5Z", 7))
        recorder.take("bot/event/signal", signal(f"{DAY}4Z", f"{DAY}5Z"))
    (series,) = read_ticks(sorted(tmp_path.glob("prices-*.csv")))
    assert [str(bar.open) for bar in series.bars] == ["50000.5", "7"]
    assert len(read_predictions(sorted(tmp_path.glob("predictions-*.csv")), 0)) == 2
    assert all(path.read_text().endswith("\n") for path in tmp_path.iterdir())


def test_a_new_day_is_a_new_file(tmp_path: Path) -> None:
    with Recorder(tmp_path, Topics(), Time()) as recorder:
        recorder.take("bot/cryptos/BTC", state("2026-11-20T23:59:59Z"))
        recorder.take("bot/cryptos/BTC", state("2026-11-21T00:00:01Z"))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["prices-2026-11-20.csv", "prices-2026-11-21.csv"]
    assert len(read_ticks(sorted(tmp_path.glob("prices-*")))[0].bars) == 2


def test_a_signal_waits_for_the_catalog_that_says_its_horizon(tmp_path: Path) -> None:
    with Recorder(tmp_path, Topics(), Time()) as recorder:
        recorder.take("bot/event/signal", signal(f"{DAY}0Z", f"{DAY}1Z"))
        assert recorder.counts.predictions == 0
        recorder.take("bot/catalog", json.dumps(CATALOG).encode())
        assert recorder.counts.predictions == 1
        recorder.take("bot/event/signal", signal(f"{DAY}0Z", f"{DAY}1Z", topic_id=99))
        assert (recorder.counts.predictions, recorder.counts.left_out) == (1, 1)


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("bot/cryptos/BTC", b"no JSON"),
        ("bot/cryptos/BTC", b"{}"),
        ("bot/event/signal", b"[]"),
        ("bot/catalog", b"\xff"),
    ],
)
def test_what_cannot_be_understood_is_counted(tmp_path: Path, topic: str, payload: bytes) -> None:
    with Recorder(tmp_path, Topics(), Time()) as recorder:
        recorder.take(topic, payload)
        assert recorder.counts.left_out == 1


def test_what_says_nothing_is_passed_over(tmp_path: Path) -> None:
    with Recorder(tmp_path, Topics(), Time()) as recorder:
        recorder.take("bot/cryptos/BTC", b"")
        recorder.take("bot/cryptos/BTC", state(f"{DAY}1Z", None))
        recorder.take("bot/cryptos/B,T\nC", state(f"{DAY}1Z"))
        recorder.take("bot/cryptos/BTC/set", b"ON")
        recorder.take("bot/event/signal", signal(f"{DAY}0Z", f"{DAY}1Z", None))
        assert (recorder.counts.prices, recorder.counts.predictions, recorder.counts.left_out) == (0, 0, 0)
    assert list(tmp_path.iterdir()) == []


def test_lines_reach_the_disk_every_few_seconds_and_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, synced = Time(), []
    really = os.fsync

    def fsync(handle: int) -> None:
        synced.append(clock.now)
        really(handle)

    with Recorder(tmp_path, Topics(), clock) as recorder:
        recorder.take("bot/cryptos/BTC", state(f"{DAY}1Z"))
        # What was written is the system's already: a crash of the program takes none of it away.
        assert (tmp_path / "prices-2026-11-20.csv").read_text().endswith("50000.5\n")
        monkeypatch.setattr(os, "fsync", fsync)
        for second in range(1, 13):
            clock.now = second
            recorder.sync_when_due()
        assert synced == [5, 10]
    assert synced == [5, 10, 12]


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResearchError, match="NOT_WRITABLE"):
        Recorder(tmp_path / "file", Topics(), Time())
