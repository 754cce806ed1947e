"""What a run becomes as a page: every number in it comes out of the run."""

from datetime import UTC, datetime

import pytest

from benchmarks.figures import Bar, Chart, Goal, Section, Table, spread
from benchmarks.machine import Machine
from benchmarks.report import Report, to_markdown

_MACHINE = Machine(
    version="1.2.3",
    commit="abc1234",
    measured_at=datetime(2026, 11, 30, 12, tzinfo=UTC),
    cores=2,
    processor="a processor",
    system="Linux 6",
    python="3.11.7",
    mosquitto="2.0.11",
    parts={"paho-mqtt": "2.1.0"},
    load_at_start=0.5,
)
_SECTION = Section(
    key="start",
    title="Start",
    about="How it starts.",
    tables=(Table(title="Times", head=("what", "s"), rows=(("bot", spread([1.0, 2.0, 4.0])),)),),
    charts=(Chart(name="start", title="Start", unit="s", bars=(Bar(label="bot", value=spread([2.0])),)),),
    goals=(Goal(what="Start", limit=1, measured=spread([2.0]), unit="s", why="it reads much"),),
)


@pytest.mark.parametrize(("load", "is_said"), [(0.5, False), (9.0, True)])
def test_the_page_says_on_what_and_when_and_whether_that_was_busy(load: float, is_said: bool) -> None:  # noqa: FBT001
    machine = _MACHINE.model_copy(update={"load_at_start": load})
    page = to_markdown(Report(machine=machine, scale="full", sections=(_SECTION,)))
    assert "2026-11-30 12:00 UTC with `make bench-full`, version 1.2.3, commit `abc1234`, on 2 cores" in page
    assert ("The machine was busy" in page) is is_said


def test_the_page_has_tables_charts_and_each_goal_with_what_came_of_it() -> None:
    page = to_markdown(Report(machine=_MACHINE, scale="full", sections=(_SECTION,))).splitlines()
    assert "| Start | ≤ 1.00 s | 2.00 s | missed by a factor of 2.00: it reads much |" in page
    assert "| bot | 2.00 (1.00 to 4.00) |" in page
    assert "![Start](images/performance-start.svg)" in page


def test_a_run_survives_its_file() -> None:
    report = Report(machine=_MACHINE, scale="short", sections=(_SECTION,))
    assert Report.model_validate_json(report.model_dump_json()) == report
