"""Draw docs/performance/*.svg from the figures that the benchmarks have printed with --json.

`.venv/bin/python -m tests.bench.plots bench.json scaling.json`: of `./dev bench` and of `tests.bench.scaling`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib import pyplot as plt

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FOLDER = Path(__file__).parents[2] / "docs" / "performance"
_INK, _OURS, _OTHERS, _FLOOR = "#7d8590", "#2f81f7", "#9aa4b2", "#57ab5a"


def main() -> None:
    """Draw all plots."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.plots", description=__doc__)
    parser.add_argument("bench", type=Path)
    parser.add_argument("scaling", type=Path)
    options = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    # Grey ink on nothing is readable on a light and on a dark page, and without dates the same figures are one file.
    colours = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    mpl.rcParams.update(dict.fromkeys(colours, _INK) | {"svg.hashsalt": "testorchestrator", "font.size": 10})
    _rates(json.loads(options.bench.read_text())["median"])
    scaling = json.loads(options.scaling.read_text())
    for what in ("clients", "workspaces"):
        _latencies(what, scaling[what])


def _rates(median: dict[str, dict[str, float]]) -> None:
    shown = {name: figures["per_second"] for name, figures in median.items() if not name.startswith("record 100")}
    figure, axes = plt.subplots(figsize=(7.5, 4))
    names = sorted(shown, key=lambda name: shown[name])
    colours = [_OTHERS if "no-op" in name else _FLOOR if name in _FLOORS else _OURS for name in names]
    bars = axes.barh(names, [shown[name] for name in names], color=colours, height=0.7)
    axes.bar_label(bars, fmt="{:,.0f}", padding=4, color=_INK)
    axes.set_xlabel("calls a second (blue: the service; grey: servers without a database; green: limits)")
    _quiet(axes)
    axes.set_xticks([])
    _save(figure, "calls")


_FLOORS = ("plain Quart route", "bare ASGI", "pgbench, the read's SQL")


def _latencies(what: str, found: dict[str, dict[str, dict[str, float]]]) -> None:
    figure, axes = plt.subplots(figsize=(7.5, 3.5))
    numbers = [int(number) for number in found]
    for call, colour in zip(next(iter(found.values())), (_OURS, "#d29922"), strict=True):
        for quantile, style in (("p50_ms", "-"), ("p99_ms", ":")):
            values = [calls[call][quantile] for calls in found.values()]
            axes.plot(numbers, values, style, color=colour, marker="o", label=f"{call}, {quantile.removesuffix('_ms')}")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(numbers, [f"{number:,}" for number in numbers])
    axes.yaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axes.minorticks_off()
    axes.set_xlabel(what)
    axes.set_ylabel("ms")
    axes.legend(frameon=False, fontsize=9)
    _quiet(axes)
    _save(figure, what)


def _quiet(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)


def _save(figure: Any, name: str) -> None:
    figure.savefig(FOLDER / f"{name}.svg", transparent=True, bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    main()
