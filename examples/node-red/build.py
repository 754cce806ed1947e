#!/usr/bin/env python3
"""Builds the flows that Node-RED imports from the sources in `src/`.

In a source a node's id is `&` and a name, and a value `@name` stands for the text of `src/name`; a line `//@ name` in
such a text stands for the text of `src/name` again. Run it after every change in `src/`; a test compares.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SOURCES = HERE / "src"
FLOWS = ("core", "dashboard")


def build(flow: str) -> str:
    """Return the text of `flows-<flow>.json`.

    Raises:
        KeyError: if a node is named that is not there.
        ValueError: if two nodes have one id.
    """
    nodes: list[dict[str, Any]] = json.loads((SOURCES / f"{flow}.json").read_text())
    ids = {node["id"]: hashlib.sha256(f"{flow} {node['id']}".encode()).hexdigest()[:16] for node in nodes}
    if len(ids) < len(nodes):
        raise ValueError(f"{flow}.json has an id twice; there are {len(ids)} for {len(nodes)} nodes")
    return json.dumps([_filled(node, ids) for node in nodes], indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _filled(value: object, ids: dict[str, str]) -> object:
    match value:
        case dict():
            return {key: _filled(inner, ids) for key, inner in value.items()}
        case list():
            return [_filled(inner, ids) for inner in value]
        case str() if value.startswith("&"):
            return ids[value]
        case str() if value.startswith("@"):
            return _text(value[1:])
        case _:
            return value


def _text(name: str) -> str:
    text = (SOURCES / name).read_text().rstrip("\n")
    return re.sub(r"^ *//@ (\S+)$", lambda found: _text(found[1]), text, flags=re.MULTILINE)


if __name__ == "__main__":
    for flow in FLOWS:
        (HERE / f"flows-{flow}.json").write_text(build(flow))
