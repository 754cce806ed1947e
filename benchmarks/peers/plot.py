"""Draw the charts of a run as SVG files."""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "allora-mqtt"
mpl.rcParams["font.family"] = "sans-serif"
from matplotlib import pyplot as plt  # noqa: E402 - the backend is chosen before

_OURS, _OTHERS = "#2a78b5", "#b0b7bf"
_WHOLE = 100
"""Above it no digit behind the point counts."""


def draw(chart: dict[str, Any], path: Path) -> None:
    """Draw one chart: a bar for each value, a line from its lowest round to its highest."""
    bars = chart["bars"][::-1]
    middles = [bar["value"]["median"] for bar in bars]
    ends = [
        [bar["value"]["median"] - bar["value"]["low"] for bar in bars],
        [bar["value"]["high"] - bar["value"]["median"] for bar in bars],
    ]
    figure, axes = plt.subplots(figsize=(9, 0.42 * len(bars) + 1.3), layout="constrained")
    colours = [_OURS if bar["is_ours"] else _OTHERS for bar in bars]
    axes.barh([bar["label"] for bar in bars], middles, xerr=ends, color=colours, ecolor="#555", capsize=3)
    if chart["is_log"]:
        axes.set_xscale("log")
    for number, bar in enumerate(bars):
        axes.annotate(
            f" {_short(bar['value']['median'])}",
            (bar["value"]["high"], number),
            va="center",
            xytext=(4, 0),
            textcoords="offset points",
        )
    axes.set_title(chart["title"], loc="left", fontsize=11)
    axes.set_xlabel(chart["unit"])
    axes.margins(x=0.12)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= _WHOLE else f"{value:.3g}"


def main(document: Path, folder: Path) -> None:
    """Draw every chart of a document."""
    for section in json.loads(document.read_text())["sections"]:
        for chart in section["charts"]:
            draw(chart, folder / f"performance-{chart['name']}.svg")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
