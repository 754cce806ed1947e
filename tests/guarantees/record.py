"""What a run has shown, kept as files so that the report at the end can say one line per promise."""

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

from tests.guarantees.scale import SEED

Value = int | float | str | None


def record(promise: str, where: str, **counts: Value) -> None:
    """Keep what was seen of a promise, if `TORTURE_REPORT_DIR` says where.

    Args:
        promise: `G1` … `G16`.
        where: on which broker, or by what means.
        counts: what was counted, in the words of the report.
    """
    row = {"promise": promise, "where": where, "seed": SEED, **counts}
    print(json.dumps(row))  # noqa: T201 - pytest shows it with a failure, and with -s
    folder = os.environ.get("TORTURE_REPORT_DIR")
    if folder is not None:
        name = re.sub(r"[^a-z0-9]+", "-", f"{promise} {where}".lower())
        Path(folder, f"{name}.json").write_text(json.dumps(row))


def percentile_ms(samples_s: Sequence[float], share: float) -> float | None:
    """Return the sample that this share of all samples does not exceed, in milliseconds."""
    if not samples_s:
        return None
    ordered = sorted(samples_s)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000, 1)
