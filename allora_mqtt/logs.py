"""How the log looks: coloured lines for people, or one JSON object a line; ids stand behind each line as key=value."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal

import structlog

_OURS: Final = "stderr"
_IDS: Final = frozenset({"signal", "order", "position", "command_id"})
"""Long random ids. A person gets their beginning, as of commits in git; it finds the same lines."""
_SHOWN: Final = 10


def configure(log_format: Literal["console", "json"], level: str) -> None:
    """Send the log of the bot and its libraries to standard error; handlers of others stay.

    Args:
        log_format: `console` or `json`.
        level: the lowest level of the bot's own messages; libraries speak from WARNING on.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.ExtraAdder(),
        _without_nothing,
    ]
    last: list[structlog.typing.Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if log_format == "json":
        last += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        # The formatter that comes with it shows the values of local variables, keys among them.
        plain = structlog.dev.plain_traceback
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0, exception_formatter=plain)
        last += [_for_people, renderer]
    handler = logging.StreamHandler(sys.stderr)
    handler.name = _OURS
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=last))
    handler.setLevel(level.upper())
    root = logging.getLogger()
    others = [each for each in root.handlers if each.name != _OURS]
    root.handlers = [handler, *others]
    root.setLevel(logging.WARNING)
    # As much as the most curious of those who listen wants to hear.
    logging.getLogger("allora_mqtt").setLevel(min(each.level for each in root.handlers if each.level))


def level() -> str:
    """Return the level that was configured, in lower case."""
    ours = next(each for each in logging.getLogger().handlers if each.name == _OURS)
    return logging.getLevelName(ours.level).lower()


@contextmanager
def also(handler: logging.Handler) -> Iterator[None]:
    """Send the log to somebody else as well, for the length of a with block."""
    root, bot = logging.getLogger(), logging.getLogger("allora_mqtt")
    before = bot.level
    root.addHandler(handler)
    bot.setLevel(min(before, handler.level))
    try:
        yield
    finally:
        root.removeHandler(handler)
        bot.setLevel(before)


def _without_nothing(_logger: object, _name: str, event_dict: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Leave out ids that are not known."""
    return {key: value for key, value in event_dict.items() if value is not None}


def _for_people(_logger: object, _name: str, event_dict: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Cut long ids, and leave out the logger's name, which helps who reads the code."""
    event_dict.pop("logger", None)
    return {
        key: str(value)[:_SHOWN] if key in _IDS and len(str(value)) > _SHOWN + 2 else value
        for key, value in event_dict.items()
    }
