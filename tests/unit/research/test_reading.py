"""What is wrong with a file is said in a sentence, with its code and its line."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from allora_mqtt.research.predictions import of_topics, read_predictions
from allora_mqtt.research.prices import read_bars, read_ticks
from allora_mqtt.research.problems import Problem, ResearchError
from allora_mqtt.research.rows import to_day
from tests.unit.research.things import START, known

HEAD = "time,open,high,low,close,volume_usd\n"
GOOD = HEAD + "3600,100,110,90,105,1\n7200,105,106,100,101,1\n10800,101,101,101,101,1\n"

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def one(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return one


def test_bars_are_read_with_their_span(write: Write) -> None:
    series = read_bars(write("hours.csv", GOOD), "BTC")
    assert [(bar.at, bar.span_s, int(bar.open), int(bar.close)) for bar in series.bars] == [
        (3600, 3600, 100, 105),
        (7200, 3600, 105, 101),
        (10800, 3600, 101, 101),
    ]
    assert (series.start, series.end, series.gaps) == (3600, 14400, ())


def test_times_may_be_written_out_and_rates_be_there(write: Write) -> None:
    head = "time,open,high,low,close,funding_rate"
    rows = (head, "2026-01-01T00:00:00Z,1,1,1,1,0.0001", "2026-01-01T02:00+01:00,1,1,1,1,")
    text = "\n".join(rows)
    series = read_bars(write("hours.csv", text), "BTC")
    assert [(bar.at, bar.funding_rate) for bar in series.bars] == [(START, Decimal("0.0001")), (START + 3600, None)]


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("time,open,high,low\n1,1,1,1\n", Problem.MISSING_COLUMN, "close"),
        ("", Problem.MISSING_COLUMN, "nothing"),
        (HEAD + "3600,100,110\n", Problem.MISSING_COLUMN, "line 2"),
        (HEAD + "3600,nan,110,90,105,1\n", Problem.BAD_NUMBER, "line 2"),
        (HEAD + "3600,1e999,110,90,105,1\n", Problem.BAD_NUMBER, "line 2"),
        (HEAD + "3600,inf,110,90,105,1\n", Problem.BAD_NUMBER, "line 2"),
        (HEAD + "3600,abc,110,90,105,1\n", Problem.BAD_NUMBER, "abc"),
        (HEAD + "3600,0,110,90,105,1\n", Problem.BAD_NUMBER, "above zero"),
        (HEAD + "3600,100,99,90,95,1\n", Problem.BAD_BAR, "line 2"),
        (HEAD + "1606780800000,1,1,1,1,1\n", Problem.BAD_TIME, "milliseconds"),
        (HEAD + "yesterday,1,1,1,1,1\n", Problem.BAD_TIME, "yesterday"),
        (HEAD + "nan,1,1,1,1,1\n", Problem.BAD_TIME, "line 2"),
        (HEAD + "2026-01-01 10:00:00,1,1,1,1,1\n", Problem.NO_TIME_ZONE, "time zone"),
        (HEAD + "7200,1,1,1,1,1\n3600,1,1,1,1,1\n", Problem.UNORDERED, "line 3"),
        (HEAD + "7200,1,1,1,1,1\n7200,1,1,1,1,1\n", Problem.UNORDERED, "line 3"),
        (HEAD + "3600,1,1,1,1,1\n", Problem.EMPTY_RANGE, "1 rows"),
        (GOOD + "18000,1,1,1,1,1\n", Problem.DATA_GAP, "--allow-gaps"),
    ],
)
def test_what_is_wrong_with_bars(write: Write, text: str, code: Problem, said: str) -> None:
    with pytest.raises(ResearchError) as raised:
        read_bars(write("hours.csv", text), "BTC")
    assert raised.value.code is code
    assert said in raised.value.message
    assert "hours.csv" in raised.value.message
    assert raised.value.message.endswith((".", ")."))


def test_gaps_can_be_allowed_and_are_named(write: Write) -> None:
    series = read_bars(write("hours.csv", GOOD + "18000,1,1,1,1,1\n"), "BTC", allow_gaps=True)
    assert [(gap.after, gap.until) for gap in series.gaps] == [(14400, 18000)]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ResearchError, match="NO_FILE"):
        read_bars(tmp_path / "none.csv", "BTC")


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ResearchError, match="NO_FILE"):
        read_bars(tmp_path / "x.csv", "BTC")


def test_a_symbol_that_is_none(write: Write) -> None:
    with pytest.raises(ResearchError, match="UNKNOWN_SYMBOL"):
        read_bars(write("hours.csv", GOOD), "<b>")


def test_an_empty_range_says_what_there_is(write: Write) -> None:
    series = read_bars(write("hours.csv", GOOD), "BTC")
    with pytest.raises(ResearchError, match=r"EMPTY_RANGE.*1970-01-01 01:00"):
        series.between(20_000, None)
    assert [bar.at for bar in series.between(7200, None).bars] == [7200, 10800]


def test_the_last_line_of_a_crash_is_left_out_and_doubles_too(write: Write) -> None:
    path = write("prices-1.csv", "at,symbol,price\n10,BTC,100\n10,BTC,100\n11,ETH,5\n12,BTC,101\n13,BT")
    assert [(each.symbol, [int(bar.open) for bar in each.bars]) for each in read_ticks([path])] == [
        ("BTC", [100, 101]),
        ("ETH", [5]),
    ]
    assert read_ticks([write("prices-2.csv", "at,sym")]) == []


def test_two_prices_at_one_time_contradict_each_other(write: Write) -> None:
    with pytest.raises(ResearchError, match="CONTRADICTION"):
        read_ticks([write("prices-1.csv", "at,symbol,price\n10,BTC,100\n10,BTC,101\n")])


PREDICTED = "at,topic,symbol,horizon,price\n"


def test_predictions_are_known_from_their_time_plus_the_delay_on(write: Write) -> None:
    text = "at,topic,symbol,horizon,price,known_at\n100,14,BTC,8h,5,\n50,14,BTC,300,5,200\n90,14,BTC,20m,5,91\n"
    found = read_predictions([write("p.csv", text)], 30)
    assert [(each.prediction.at, each.known_at, each.prediction.horizon_s) for each in found] == [
        (90, 120, 1200),
        (100, 130, 28_800),
        (50, 200, 300),
    ]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (PREDICTED + "1,x,BTC,8h,5\n", Problem.BAD_NUMBER),
        (PREDICTED + "1,14,BTC,8 weeks,5\n", Problem.BAD_NUMBER),
        (PREDICTED + "1,14,BTC,0h,5\n", Problem.BAD_NUMBER),
        (PREDICTED + "1,14,BTC,8h,-5\n", Problem.BAD_NUMBER),
        (PREDICTED + "1,14,BTC,8h,5\n1,14,BTC,8h,6\n", Problem.CONTRADICTION),
        ("at,topic,symbol,price\n", Problem.MISSING_COLUMN),
    ],
)
def test_what_is_wrong_with_predictions(write: Write, text: str, code: Problem) -> None:
    with pytest.raises(ResearchError) as raised:
        read_predictions([write("p.csv", text)], 0)
    assert raised.value.code is code


def test_one_topic_steers_a_coin() -> None:
    both = [known(1, 5), known(2, 5, topic_id=1), known(3, 5, topic_id=2, symbol="ETH")]
    with pytest.raises(ResearchError, match=r"AMBIGUOUS_TOPIC.*--topic BTC:1"):
        of_topics(both, ["BTC", "ETH"], {})
    assert [each.prediction.topic_id for each in of_topics(both, ["BTC", "ETH"], {"BTC": 14})] == [14, 2]
    with pytest.raises(ResearchError, match="NO_PREDICTIONS"):
        of_topics(both, ["BTC"], {"BTC": 99})
    with pytest.raises(ResearchError, match="NO_PREDICTIONS"):
        of_topics(both, ["SOL"], {})


def test_a_day_begins_at_midnight_utc() -> None:
    assert to_day("2026-01-01", "--from") == START
    with pytest.raises(ResearchError, match="NO_TIME_ZONE"):
        to_day("2026-01-01T10:00", "--from")
