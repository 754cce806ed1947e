"""docs/brokers.md says of each broker what the suite has found."""

from dataclasses import fields
from pathlib import Path

from tests.integration.brokers.kinds import KINDS

PAGE = Path(__file__).parents[3] / "docs" / "brokers.md"


def test_the_table_of_what_brokers_can_is_the_one_that_is_asserted() -> None:
    lines = PAGE.read_text().splitlines()
    start = lines.index(f"| | {' | '.join(kind.name for kind in KINDS)} |")
    rows = [line.strip("| ").split(" | ")[1:] for line in lines[start + 2 : lines.index("", start)]]
    asserted = [field.name for field in fields(KINDS[0]) if field.type is bool]
    assert rows == [["yes" if getattr(kind, name) else "no" for kind in KINDS] for name in asserted]
