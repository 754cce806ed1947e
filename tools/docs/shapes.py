"""JSON Schemas in words."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tools.docs.markdown import code, codes

Schema = dict[str, Any]

_LONGEST_CHOICE: Final = 10
_WORDS: Final = {"integer": "whole number", "boolean": "`true` or `false`"}


@dataclass(frozen=True, slots=True)
class Shapes:
    """Schemas in words, with the definitions that they refer to."""

    definitions: Mapping[str, Schema]

    def of(self, schema: Schema) -> str:  # noqa: PLR0911 - one for each kind of schema
        """Return what fits a schema: `number`, `time or null`, `list of Position`."""
        match schema:
            case {"$ref": str(reference)}:
                return self._named(reference.rpartition("/")[2])
            case {"anyOf": options}:
                return " or ".join(dict.fromkeys(self.of(each) for each in options))
            case {"const": value}:
                return code(value)
            case {"enum": values}:
                return codes(values)
            case {"type": "string", "format": "date-time"}:
                return "time"
            case {"type": "string"}:
                return "text"
            case {"type": "array", "items": items}:
                return f"list of {self.of(items)}"
            case {"type": "object", "additionalProperties": dict(values)}:
                return f"object: name → {self.of(values)}"
        kind = str(schema.get("type", "any JSON"))
        return _WORDS.get(kind, kind)

    def _named(self, name: str) -> str:
        schema = self.definitions[name]
        if is_named(schema) or len(schema.get("enum", ())) > _LONGEST_CHOICE:
            return name
        return self.of(schema)


def limits(schema: Schema) -> str:
    """Return the range of a number, where it has one."""
    options = [schema, *schema.get("anyOf", ())]
    low = next((option["minimum"] for option in options if "minimum" in option), None)
    high = next((option["maximum"] for option in options if "maximum" in option), None)
    return "" if low is None or high is None else f"{low:,} to {high:,}"


def is_named(schema: Schema) -> bool:
    """Tell whether it is an object with fields of its own, which a table can show."""
    return "properties" in schema


def names_in(schema: object) -> list[str]:
    """Return the definitions that a schema refers to, in order."""
    if isinstance(schema, dict):
        found = [str(schema["$ref"]).rpartition("/")[2]] if "$ref" in schema else []
        return found + [name for each in schema.values() for name in names_in(each)]
    return [name for each in schema for name in names_in(each)] if isinstance(schema, list) else []
