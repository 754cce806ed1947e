"""What a line of the log looks like, and who else gets it."""

import json
import logging

import pytest
from structlog.contextvars import bound_contextvars

from allora_mqtt import logs

SIGNAL = "802f28a439bbbbbbbbbbbbbbbbbbbbbb"
log = logging.getLogger("allora_mqtt.tests")


pytestmark = pytest.mark.usefixtures("log_of_its_own")


def test_a_person_gets_the_beginning_of_long_ids(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("console", "info")
    log.info("An entry of %s", "BTC", extra={"signal": SIGNAL, "order": None, "fill": "2-4"})
    line = capsys.readouterr().err
    assert line.endswith("[info     ] An entry of BTC fill=2-4 signal=802f28a439\n")


def test_a_machine_gets_all_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json", "info")
    log.info("An entry of %s", "BTC", extra={"signal": SIGNAL, "order": None})
    line = json.loads(capsys.readouterr().err)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "An entry of BTC",
        "level": "info",
        "logger": "allora_mqtt.tests",
        "signal": SIGNAL,
    }


def test_a_line_says_for_which_command_it_was_written(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json", "info")
    with bound_contextvars(command=42):
        log.info("Order")
    log.info("Order")
    assert [json.loads(line).get("command") for line in capsys.readouterr().err.splitlines()] == [42, None]


def test_another_listener_may_hear_more_and_less(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("console", "warning")
    heard: list[str] = []

    class Other(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.getMessage())

    with logs.also(Other(logging.DEBUG)):
        log.debug("for the other")
        logs.configure("console", "error")
        log.debug("still for the other")
        log.warning("for the other again")
        log.error("for both")
    log.debug("for nobody")
    assert heard == ["for the other", "still for the other", "for the other again", "for both"]
    assert capsys.readouterr().err.count("\n") == 1
    assert logs.level() == "error"
