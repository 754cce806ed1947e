"""docs/messages.md: every message that the bot publishes, from the models that write them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from pydantic import BaseModel

from allora_mqtt.protocol import books
from allora_mqtt.protocol.schema import MESSAGES, WORDS, Delivery, Schemas
from tools.docs.markdown import anchor, code, codes, one_line, table
from tools.docs.shapes import Schema, Shapes, is_named, names_in

_INTRODUCTION: Final = """\
# Every message

What the bot publishes, topic by topic. [The contract](contract.md) says what it is for, and how commands are sent. For
machines, `allora-mqtt schema` prints the same as JSON Schemas, and [asyncapi.json](asyncapi.json) is an AsyncAPI 3
document (`allora-mqtt schema --asyncapi`).

Times are RFC 3339 in UTC with milliseconds (`2026-11-20T10:00:00.123Z`), money and prices are numbers in USD, sizes are
in coins. The unit is in the name: `_usd`, `_pct` (percent), `_s` (seconds), `_ms` (milliseconds).
"""


def page() -> str:
    """Return the page."""
    writer = _Writer(Schemas.under("#/$defs").definitions)
    retained = [topic for topic in MESSAGES if Delivery.of(topic).is_retained]
    answers = [topic for topic in MESSAGES if topic.startswith("response/")]
    parts = [_INTRODUCTION, "\n## Answers\n"]
    for topic in answers:
        parts += writer.message(topic)
    parts += ["\n## State, retained\n", *map(_word, WORDS)]
    for topic in retained:
        parts += writer.message(topic)
    parts.append("\n## Heartbeat, events and log, not retained\n")
    for topic in MESSAGES:
        if topic not in retained and topic not in answers:
            parts += writer.message(topic)
    parts.append("\n## What is in `data`\n\nOf the answers to these actions.\n")
    for action, model in (
        ("trades", books.TradesPage),
        ("events", books.EventsPage),
        ("performance", books.Performance),
    ):
        parts += _data(action, model)
    return "".join(parts)


def title(topic: str) -> str:
    """Return a topic as the page's headings have it."""
    return topic.replace("{symbol}", "SYMBOL").replace("{name}", "NAME").replace("{level}", "LEVEL")


def shown(topic: str) -> str:
    """Return a topic as people know it, with what is to be filled in."""
    return "<base>/" + topic.replace("{symbol}", "<SYMBOL>").replace("{", "<").replace("}", ">")


def _word(topic: str) -> str:
    return f"\n### {topic}\n\n{code(shown(topic))}, QoS 1, retained. One bare word: {codes(WORDS[topic])}.\n"


@dataclass(frozen=True, slots=True)
class _Writer:
    """Writes each definition once, and leads there from then on."""

    definitions: Mapping[str, Schema]
    told: dict[str, str] = field(default_factory=dict)

    def message(self, topic: str) -> Iterator[str]:
        model, delivery = MESSAGES[topic], Delivery.of(topic)
        retained = ", retained" if delivery.is_retained else ""
        yield f"\n### {title(topic)}\n\n{code(shown(topic))}, QoS {delivery.qos}{retained}.{_about(model)}\n"
        name = model.__name__
        if name in self.told:
            yield f"\nThe same as [{name}](#{self.told[name]}).\n"
            return
        self.told[name] = anchor(title(topic))
        schema = self.definitions[name]
        if not is_named(schema):
            yield f"\nThe payload is this, in JSON: {Shapes(self.definitions).of(schema)}.\n"
        yield from self._fields(schema)

    def _fields(self, schema: Schema) -> Iterator[str]:
        yield from _table(schema, self.definitions)
        for name in names_in(schema):
            if name not in self.told and is_named(self.definitions[name]):
                self.told[name] = anchor(name)
                inner = self.definitions[name]
                yield f"\n#### {name}\n\n{one_line(inner.get('description'))}\n"
                yield from self._fields(inner)


def _about(model: type[BaseModel]) -> str:
    """Return what a model's docstring says beside its topic."""
    parts = [part.strip() for part in one_line(model.__doc__).removesuffix(".").replace("`: ", "`; ").split("; ")]
    said = [part for part in parts if part and not part.startswith("`<base>")]
    return "".join(f" {part[:1].upper()}{part[1:]}." for part in said if "QoS" not in part)


def _table(schema: Schema, definitions: Mapping[str, Schema]) -> Iterator[str]:
    if is_named(schema):
        shapes = Shapes(definitions)
        rows = [
            (code(key), shapes.of(each), one_line(each.get("description")))
            for key, each in schema["properties"].items()
        ]
        yield "\n" + table(("field", "is", "what it means"), rows)


def _data(action: str, model: type[BaseModel]) -> Iterator[str]:
    schema = model.model_json_schema(mode="serialization")
    inner = schema.pop("$defs", {})
    yield f"\n### request/{action}\n\n{one_line(model.__doc__)}\n"
    yield from _table(schema, inner)
    for name, each in inner.items():
        if is_named(each):
            yield f"\n#### {name} of {action}\n\n{one_line(each.get('description'))}\n"
            yield from _table(each, inner)
