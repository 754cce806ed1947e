"""docs/settings.md: every setting, from the models that read them."""

from collections.abc import Iterator
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from types import NoneType
from typing import Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from allora_mqtt.protocol.runtime import RuntimeSettings, knobs
from allora_mqtt.settings import Settings
from tools.docs.markdown import code, codes, one_line, table

_INTRODUCTION: Final = """\
# Settings

A setting is taken from the first of these that has it: the command line, the environment, a file `.env` in the current
folder, `allora-mqtt.toml` there, the default below. In TOML the part before the first underscore is the table:

```toml
[mqtt]
host = "broker.lan"

[trade]
amount_usd = 25
```

What is set to nothing (`MQTT_HOST=`) counts as unset. A name that does not exist or a value out of range is an error,
and the bot does not start with it. Secrets can come from a file (`…_FILE`), so that they are in no environment and on
no command line.

```console
$ allora-mqtt config check          # is it right? one line for each thing that is not
$ allora-mqtt config show --local   # what is in force, and where each value came from; secrets are masked
```
"""

_RUNTIME: Final = """\
These can be changed while the bot runs: by `allora-mqtt config set`, on `<base>/config/<key>/set` (the name without
`TRADE_`, in small letters: `price_gap_pct`), or in Home Assistant. A value that was changed that way is kept over
restarts, and **goes before the setting here**. [limits.md](limits.md), [trading.md](trading.md) and
[signals.md](signals.md) say what each of them does.
"""

_HARD_LIMITS: Final = """\
No command can cross these, whoever sends it. They hold at every start, for values that were stored before too.
"""

_UNITS: Final = {"s": "s", "usd": "USD", "pct": "%", "ms": "ms"}


def page() -> str:
    """Return the page."""
    parts = [_INTRODUCTION]
    for group, field in Settings.model_fields.items():
        model = field.annotation
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            raise TypeError(f"{group} is no group of settings")
        title, _, text = one_line(model.__doc__).removesuffix(".").partition(": ")
        parts.append(f"\n## {title}\n\n{text[:1].upper()}{text[1:]}.\n\n")
        if group == "trade":
            parts += [_RUNTIME, "\n", _runtime(), "\n### Hard limits\n\n", _HARD_LIMITS, "\n"]
        own = {key: each for key, each in model.model_fields.items() if key not in RuntimeSettings.model_fields}
        rows = [_row(f"{group}_{key}".upper(), each) for key, each in own.items()]
        parts.append(table(("setting", "default", "values", "what it is"), rows))
    return "".join(parts)


def _runtime() -> str:
    rows = []
    for key, knob in knobs().items():
        field = RuntimeSettings.model_fields[key]
        rows.append(
            (
                code(f"TRADE_{key}".upper()),
                code(field.default),
                _range(field) or "name",
                knob.unit,
                one_line(field.description),
            )
        )
    return table(("setting", "default", "values", "unit", "what it is"), rows)


def _row(name: str, field: FieldInfo) -> tuple[str, str, str, str]:
    return code(name), _default(name, field), _values(name, field), one_line(field.description)


def _default(name: str, field: FieldInfo) -> str:
    if field.default_factory is not None:
        return "the user's data folder"
    value = field.default
    if value is None or value is PydanticUndefined or value in ("", (), {}):
        return ""
    if isinstance(value, dict):
        return codes(value)
    if isinstance(value, bool):
        return code(str(value).lower())
    if isinstance(value, tuple):
        return code(",".join(value))
    unit = _UNITS.get(name.rpartition("_")[2].lower(), "")
    return code(value) + (f" {unit}" if unit else "")


def _values(name: str, field: FieldInfo) -> str:
    kind = _without_none(field.annotation)
    if kind is bool:
        return "`true`, `false`"
    if get_origin(kind) is Literal:
        return codes(get_args(kind))
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return codes(kind)
    if kind in {int, float, Decimal}:
        return _range(field) or "number"
    return _words(name, kind)


def _words(name: str, kind: object) -> str:
    if kind is Path:
        return "folder" if name.endswith("_DIR") else "file"
    if kind is SecretStr:
        return "secret"
    if get_origin(kind) in {tuple, dict}:
        return "JSON" if name == "BOT_CRYPTO_SETS" else "list, with commas"
    endings = {"_BIND": "`HOST:PORT`", "_URL": "address", "_ADDRESS": "`0x…`", "_VAULT": "`0x…`", "_CONFIRM": "`0x…`"}
    return next((form for ending, form in endings.items() if name.endswith(ending)), "text")


def _without_none(annotation: Any) -> Any:  # noqa: ANN401 - an annotation is anything
    if get_origin(annotation) in {Union, type(int | None)}:
        kinds = [kind for kind in get_args(annotation) if kind is not NoneType]
        return _without_none(kinds[0])
    if hasattr(annotation, "__metadata__"):
        return _without_none(get_args(annotation)[0])
    return annotation


def _bounds(field: FieldInfo) -> Iterator[tuple[str, Any]]:
    metadata = list(field.metadata)
    for kind in get_args(field.annotation):
        metadata += getattr(kind, "__metadata__", ())
    for constraint in metadata:
        nested = getattr(constraint, "metadata", ())
        for each in (constraint, *nested):
            for bound in ("ge", "gt", "le"):
                if getattr(each, bound, None) is not None:
                    yield bound, getattr(each, bound)


def _range(field: FieldInfo) -> str:
    bounds = dict(_bounds(field))
    low = f"{bounds['ge']:,}" if "ge" in bounds else f"above {bounds['gt']:,}" if "gt" in bounds else ""
    high = f"{bounds['le']:,}" if "le" in bounds else ""
    if low and high:
        return f"{low} to {high}" if "ge" in bounds else f"{low}, to {high}"
    return f"{low} or more" if low else f"up to {high}" if high else ""
