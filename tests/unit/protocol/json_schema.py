"""As much of JSON Schema 2020-12 as the contract uses: does a value fit, and is a schema one at all."""

import re
from collections.abc import Iterator
from typing import Any

TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}

ANNOTATIONS = {"title", "description", "default", "examples", "format"}
ASSERTIONS = {
    "$ref", "type", "enum", "const", "anyOf", "properties", "required", "additionalProperties", "patternProperties",
    "propertyNames", "items", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "minProperties",
    "maxProperties", "pattern",
}  # fmt: skip


def faults(schema: Any, definitions: dict[str, Any], where: str = "#") -> Iterator[str]:
    """Yield what is no JSON Schema 2020-12 in a schema, or what `misfits` would not look at."""
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        yield f"{where}: neither an object nor a boolean"
        return
    yield from (f"{where}: the keyword {key!r}" for key in schema.keys() - ANNOTATIONS - ASSERTIONS)
    if "$ref" in schema and schema["$ref"].removeprefix("#/$defs/") not in definitions:
        yield f"{where}: {schema['$ref']} leads nowhere"
    if schema.get("type", "null") not in TYPES:
        yield f"{where}: the type {schema['type']!r}"
    re.compile(schema.get("pattern", ""))
    missing = set(schema.get("required", ())) - schema.get("properties", {}).keys()
    if missing:
        yield f"{where}: {missing} required and not described"
    for place, inner in _parts(schema):
        yield from faults(inner, definitions, f"{where}/{place}")


def _parts(schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key in ("properties", "patternProperties"):
        yield from ((f"{key}/{name}", inner) for name, inner in schema.get(key, {}).items())
    yield from ((key, schema[key]) for key in ("additionalProperties", "propertyNames", "items") if key in schema)
    yield from ((f"anyOf/{index}", inner) for index, inner in enumerate(schema.get("anyOf", ())))


def misfits(value: Any, schema: Any, definitions: dict[str, Any], where: str = "$") -> Iterator[str]:
    """Yield why a value does not fit a schema; nothing when it does."""
    if isinstance(schema, bool):
        if not schema:
            yield f"{where}: nothing fits"
        return
    if "$ref" in schema:
        yield from misfits(value, definitions[schema["$ref"].removeprefix("#/$defs/")], definitions, where)
    if "anyOf" in schema and all(list(misfits(value, inner, definitions, where)) for inner in schema["anyOf"]):
        yield f"{where}: {value!r} fits none of {schema['anyOf']}"
    if "type" in schema and not _is(value, schema["type"]):
        yield f"{where}: {value!r} is no {schema['type']}"
        return
    choices = schema.get("enum", [schema["const"]] if "const" in schema else [value])
    if value not in choices:
        yield f"{where}: {value!r} is none of {choices}"
    yield from _out_of_bounds(value, schema, where)
    if isinstance(value, dict):
        yield from _members(value, schema, definitions, where)
    for index, item in enumerate(value if isinstance(value, list) else ()):
        yield from misfits(item, schema.get("items", True), definitions, f"{where}[{index}]")


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, TYPES[kind]) or (kind == "integer" and isinstance(value, float) and value.is_integer())


def _out_of_bounds(value: Any, schema: dict[str, Any], where: str) -> Iterator[str]:
    measures: dict[str, Any] = {}
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        measures = {"minimum": value, "maximum": value}
    elif isinstance(value, str):
        measures = {"minLength": len(value), "maxLength": len(value)}
        if "pattern" in schema and not re.search(schema["pattern"], value):
            yield f"{where}: {value!r} does not match {schema['pattern']}"
    elif isinstance(value, list):
        measures = {"minItems": len(value), "maxItems": len(value)}
    elif isinstance(value, dict):
        measures = {"minProperties": len(value), "maxProperties": len(value)}
    for key, measure in measures.items():
        if key in schema and (measure < schema[key] if key.startswith("min") else measure > schema[key]):
            yield f"{where}: {measure} against {key} {schema[key]}"


def _members(value: dict[str, Any], schema: dict[str, Any], definitions: dict[str, Any], where: str) -> Iterator[str]:
    yield from (f"{where}: lacks {name}" for name in schema.get("required", ()) if name not in value)
    properties, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    for name, member in value.items():
        place = f"{where}.{name}"
        if "propertyNames" in schema:
            yield from misfits(name, schema["propertyNames"], definitions, place)
        fitting = [properties[name]] if name in properties else []
        fitting += [inner for pattern, inner in patterns.items() if re.search(pattern, name)]
        if not fitting and "additionalProperties" in schema:
            fitting = [schema["additionalProperties"]]
        for inner in fitting:
            yield from misfits(member, inner, definitions, place)
