"""The shape of a JSON answer: which fields there are, which may be absent, of which types and how numbers are written.

Run as a program it reads the answers that the exchange's own SDK keeps as test recordings and writes their shapes to
`recorded_shapes.json`; no recorded value is kept:

    python -m tests.unit.simulator.shapes PATH/TO/hyperliquid-python-sdk COMMIT
"""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

RECORDED = Path(__file__).with_name("recorded_shapes.json")
_SOURCE = "https://github.com/hyperliquid-dex/hyperliquid-python-sdk"
_FORMS = (
    ("decimal", re.compile(r"-?\d+\.\d+")),
    ("hash", re.compile(r"0x[0-9a-f]{64}")),
    ("cloid", re.compile(r"0x[0-9a-f]{32}")),
    ("address", re.compile(r"0x[0-9a-fA-F]{40}")),
)
# The simulator has no staking, no vault shares and no transfers.
_LEFT_OUT = {"delegatorHistory", "portfolio", "userNonFundingLedgerUpdates", "userTwapSliceFills", "userVaultEquities"}

Shape = dict[str, Any]


def shape_of(value: object) -> Shape:
    """Describe one value."""
    match value:
        case None | bool() | int() | float():
            return {"null" if value is None else type(value).__name__: True}
        case str():
            return {next((name for name, form in _FORMS if form.fullmatch(value)), "text"): True}
        case Mapping():
            return {"fields": {key: shape_of(each) for key, each in value.items()}, "optional": []}
        case Sequence():
            return {"items": merged([shape_of(each) for each in value])}
        case _:
            raise TypeError(type(value))


def merged(shapes: Sequence[Shape]) -> Shape:
    """One shape that all of these fit; a field that some lack is optional."""
    result: Shape = {}
    for shape in shapes:
        for key in shape.keys() - {"fields", "optional", "items"}:
            result[key] = True
    objects = [shape for shape in shapes if "fields" in shape]
    if objects:
        names = sorted({name for shape in objects for name in shape["fields"]})
        result["fields"] = {
            name: merged([shape["fields"][name] for shape in objects if name in shape["fields"]]) for name in names
        }
        result["optional"] = sorted(
            {name for name in names for shape in objects if name not in shape["fields"] or name in shape["optional"]}
        )
    lists = [shape for shape in shapes if "items" in shape]
    if lists:
        result["items"] = merged([shape["items"] for shape in lists])
    return result


def differences(real: Shape, ours: Shape, where: str = "") -> list[str]:
    """What the real answer has and ours lacks or has otherwise. A field that only ours has is no difference.

    Where the real side's list was empty in every recording nothing is known of its lines.
    """
    if not real or not ours:
        return []
    found = [f"{where}: {key} is never {sorted(real)} there" for key in _kinds(ours) - _kinds(real)]
    if "fields" in real and "fields" in ours:
        for name, shape in real["fields"].items():
            path = f"{where}.{name}" if where else name
            if name not in ours["fields"]:
                if name not in real["optional"]:
                    found.append(f"{path}: missing")
                continue
            if name in ours["optional"] and name not in real["optional"]:
                found.append(f"{path}: not always there")
            found += differences(shape, ours["fields"][name], path)
    if "items" in real and "items" in ours:
        found += differences(real["items"], ours["items"], f"{where}[]")
    return found


def _kinds(shape: Shape) -> set[str]:
    return set(shape) - {"optional"}


def recorded(root: Path) -> dict[str, Shape]:
    """The shapes of the recorded answers, by the type of the query."""
    answers: dict[str, list[Shape]] = {}
    for path in sorted((root / "tests" / "cassettes" / "info_test").glob("*.yaml")):
        for one in yaml.safe_load(path.read_text(encoding="utf-8"))["interactions"]:
            query = json.loads(one["request"]["body"])
            answer = json.loads(one["response"]["body"]["string"])
            answers.setdefault(query["type"], []).append(answer_shape(query["type"], answer))
    return {kind: merged(shapes) for kind, shapes in sorted(answers.items()) if kind not in _LEFT_OUT}


def answer_shape(kind: str, answer: Any) -> Shape:
    """The shape of an answer; where coins are keys they are data, not fields."""
    return shape_of(list(answer.values()) if kind == "allMids" else answer)


def main(root: str, commit: str) -> None:
    """Write the file."""
    lines = [f'"{kind}": {json.dumps(shape, sort_keys=True)}' for kind, shape in recorded(Path(root)).items()]
    text = ",\n".join([f'{{"source": "{_SOURCE}"', f'"commit": "{commit}"', '"answers": {\n' + ",\n".join(lines)])
    RECORDED.write_text(text + "}}\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
