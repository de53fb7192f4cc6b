"""What docs/performance.md shows of the figures in docs/performance/: `.venv/bin/python -m tests.bench.report`.

Tables are written between their marks, plots beside the figures. What is said about them is written by hand.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.axes import Axes

DOCUMENT = Path(__file__).parents[2] / "docs" / "performance.md"
FIGURES = DOCUMENT.with_suffix("")
# Of medium lightness, so that they can be read on white and on black.
_INK, _BLUE, _ORANGE, _TEAL = "#808891", "#3b82f6", "#e07b39", "#1a9988"
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "performance",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "grid.alpha": 0.25,
    "legend.frameon": False,
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "axes.titlecolor", "xtick.color", "ytick.color"), _INK
    ),
    "grid.color": _INK,
}
#: The columns of what a connection's process takes.
_MEMORY = {
    "service_mib": "the service's process",
    "connection_mean_mib": "a connection's process, mean",
    "connection_most_mib": "the largest",
    "all_connections_most_mib": "all connections at most",
}
#: The calls that stand out in the plot of ever larger projects.
_SHOWN = (
    "get_test_case",
    "list: first page",
    "list: with a rare tag",
    "search: rare word",
    "search: common word",
    "gaps: figures",
)


def figures(name: str) -> Any:
    """Return the figures of one program, as it printed them."""
    return json.loads((FIGURES / f"{name}.json").read_text())


def tables() -> dict[str, str]:
    """Return the tables, by the marks between which they stand."""
    bench, clients = figures("bench"), figures("clients")
    scale, workers, memory = figures("scale"), figures("workers"), figures("memory")
    setting = bench["setting"]
    versions = ", ".join(f"{name} {bench['versions'][name]}" for name in ("Python", "PostgreSQL"))
    noise = ", ".join(f"{one['load_average_before']:.1f}" for one in (setting, clients, scale, workers))
    found = {
        "setting": (
            f"Measured on {setting['cores']} processors with {versions}; {setting['connections']} connections over "
            f"{setting['workspaces']} workspaces of {setting['keys']} keys and {setting['cases']:,} cases.\n"
            f"The machine's load average before each of four runs was {noise}.\n"
        ),
        "ratios": _table(
            ("ratio", "aim", "median", "rounds", ""),
            (
                (
                    what,
                    one["aim"],
                    f"**{one['ratio']:.2f}**",
                    f"{min(one['rounds']):.2f} to {max(one['rounds']):.2f}",
                    "" if not one["aim"] else "met" if one["met"] else "not met",
                )
                for what, one in bench["ratios"].items()
            ),
        ),
        "contenders": _table(
            ("", "calls/s", "rounds", "p50 ms", "p99 ms", "its CPU, µs", "PostgreSQL's, µs", "round trips"),
            (_contender(bench, name) for name in bench["contenders"]),
        ),
        "clients": _table(
            ("", "clients", "calls/s", "p50 ms", "p99 ms", "p99 ÷ p50"),
            (
                (
                    row["call"],
                    str(row["clients"]),
                    f"{row['per_second']:,.0f}",
                    *(f"{row[key]:.1f}" for key in ("p50_ms", "p99_ms", "p99_to_median")),
                )
                for row in clients["rows"]
            ),
        ),
        "scale": _table(
            ("ms", *(f"{int(size):,} cases" for size in _sizes(scale))),
            ((name, *(f"{found[size]:.1f}" for size in _sizes(scale))) for name, found in scale["ms"].items()),
        ),
        "workers": _table(
            ("", "clients", "workers", "calls/s", "÷ 1 worker", "p50 ms", "p99 ms", "service µs", "PostgreSQL µs"),
            (
                (
                    row["call"],
                    str(row["clients"]),
                    str(row["workers"]),
                    f"{row['per_second']:,.0f}",
                    f"**{row['per_second'] / _of_one_worker(workers, row):.2f}**",
                    *(f"{row[key]:.1f}" for key in ("p50_ms", "p99_ms")),
                    *(f"{row[key]:,.0f}" for key in ("service_us", "postgres_us")),
                )
                for row in workers["rows"]
            ),
        ),
        "memory of connections": _table(
            ("MiB", *_MEMORY.values()),
            ((one["what"], *(f"{one[key]:,.0f}" for key in _MEMORY)) for one in memory if _MEMORY.keys() <= one.keys()),
        ),
        "memory of processes": _table(
            ("", "MiB"),
            (
                (
                    one["what"],
                    ", ".join(f"{_spoken(key)} {value:,.1f}" for key, value in one.items() if key != "what"),
                )
                for one in memory
                if not _MEMORY.keys() <= one.keys()
            ),
        ),
    }
    if _is_measured("workspaces"):
        workspaces = figures("workspaces")
        found |= {
            "workspaces": _table(
                ("", "asked", "workspaces", "calls/s", "p50 ms", "p99 ms", "p50 ÷ that among ten"),
                (
                    (
                        row["call"],
                        row["asked"],
                        f"{row['workspaces']:,}",
                        f"{row['per_second']:,.0f}",
                        *(f"{row[key]:.1f}" for key in ("p50_ms", "p99_ms")),
                        f"**{row['to_few']:.2f}**",
                    )
                    for row in workspaces["rows"]
                    if row["asked"] != "beside"
                ),
            ),
            "provisioning": _table(
                ("workspaces", "made in a second, up to there", "MB each"),
                ((f"{one['to']:,}", f"{one['per_second']:.1f}", f"{one['mb']:.1f}") for one in workspaces["made"]),
            ),
        }
    return found


def _is_measured(name: str) -> bool:
    return (FIGURES / f"{name}.json").exists()


def fill(text: str) -> str:
    """Return the document *text* with the tables as they are now."""
    for name, table in tables().items():
        place = re.compile(rf"(?<=<!-- figures: {name} -->\n).*?(?=<!-- end of {name} -->)", re.DOTALL)
        text, found = place.subn(lambda _, table=table: f"\n{table}\n", text)
        if found != 1:
            raise SystemExit(f"{DOCUMENT} has no place for the figures of {name}.")
    return text


def draw() -> None:
    """Draw the plots."""
    with mpl.rc_context(_STYLE):
        for name, plot in _PLOTS.items():
            if not _is_measured(_PLOTTED.get(name, name)):
                continue
            figure = plot()
            figure.savefig(FIGURES / f"{name}.svg", transparent=True, metadata={"Date": None, "Creator": None})


def write() -> None:
    """Draw the plots and fill the tables."""
    draw()
    DOCUMENT.write_text(fill(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")


def _table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(headings)]
    lines += [["---"] + ["---:"] * (len(lines[0]) - 1), *map(list, rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _sizes(scale: dict[str, Any]) -> list[str]:
    return list(next(iter(scale["ms"].values())))


def _of_one_worker(workers: dict[str, Any], row: dict[str, Any]) -> float:
    same = (row["call"], row["clients"], 1)
    [rate] = [one["per_second"] for one in workers["rows"] if (one["call"], one["clients"], one["workers"]) == same]
    return float(rate)


def _spoken(key: str) -> str:
    return key.removesuffix("_mib").replace("_", " ")


def _contender(bench: dict[str, Any], name: str) -> list[str]:
    median = bench["contenders"][name]["median"]
    rates = [one["per_second"] for one in bench["contenders"][name]["rounds"]]
    cells = [f"{name} ({bench['versions'][name]})" if name in bench["versions"] else name]
    cells += [f"{median['per_second']:,.0f}", f"{min(rates):,.0f} to {max(rates):,.0f}"]
    cells += [f"{median[key]:.1f}" if key in median else "" for key in ("p50_ms", "p99_ms")]
    cells += [f"{median[key]:,.0f}" if key in median else "" for key in ("service_us", "postgres_us")]
    return [*cells, str(bench["round_trips"].get(name, ""))]


def _contenders() -> Figure:
    found = {name: one["median"]["per_second"] for name, one in figures("bench")["contenders"].items()}
    shown = [name for name in found if "64 clients" not in name]
    figure = Figure(figsize=(8, 0.32 * len(shown) + 0.8), layout="constrained")
    axes = figure.subplots()
    ours = figures("bench")["ours"]
    colours = [_BLUE if name in ours else _TEAL if "pgbench" in name else _INK for name in shown]
    bars = axes.barh(shown, [found[name] for name in shown], color=colours, height=0.7)
    axes.bar_label(bars, fmt="{:,.0f}", padding=3)
    axes.invert_yaxis()
    axes.set_title("calls in a second")
    axes.spines["bottom"].set_visible(False)
    axes.set_xticks([])
    return figure


def _clients() -> Figure:
    rows = figures("clients")["rows"]
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    rate, latency = figure.subplots(1, 2)
    for call, colour in zip(dict.fromkeys(row["call"] for row in rows), (_BLUE, _ORANGE), strict=True):
        mine = [row for row in rows if row["call"] == call]
        clients = [row["clients"] for row in mine]
        rate.plot(clients, [row["per_second"] for row in mine], marker="o", color=colour, label=call)
        for key, style in (("p50_ms", "-"), ("p99_ms", "--")):
            label = f"{call}, {key.removesuffix('_ms')}"
            latency.plot(clients, [row[key] for row in mine], style, marker="o", color=colour, label=label)
    rate.set(title="calls in a second", ylim=0)
    latency.set(title="milliseconds", yscale="log")
    for axes in (rate, latency):
        _logarithmic(axes, sorted({row["clients"] for row in rows}), "clients at once")
    return figure


def _workspaces() -> Figure:
    rows = [row for row in figures("workspaces")["rows"] if row["asked"] != "beside"]
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    axes = figure.subplots()
    for call, colour in zip(dict.fromkeys(row["call"] for row in rows), (_BLUE, _ORANGE), strict=True):
        for asked, style in zip(dict.fromkeys(row["asked"] for row in rows), ("-", "--", ":"), strict=False):
            mine = [row for row in rows if (row["call"], row["asked"]) == (call, asked)]
            ratios = [row["to_few"] for row in mine]
            axes.plot(
                [row["workspaces"] for row in mine], ratios, style, marker="o", color=colour, label=f"{call}, {asked}"
            )
    axes.set(title="median latency ÷ that in a database of ten workspaces", yscale="log")
    _logarithmic(axes, sorted({row["workspaces"] for row in rows}), "workspaces")
    return figure


def _scale() -> Figure:
    found = figures("scale")
    sizes = _sizes(found)
    cases = [int(size) for size in sizes]
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.subplots()
    for name, took in found["ms"].items():
        if name not in _SHOWN:
            axes.plot(cases, [took[size] for size in sizes], color=_INK, alpha=0.25, linewidth=0.8)
    for number, name in enumerate(_SHOWN):
        milliseconds = [found["ms"][name][size] for size in sizes]
        colour, style = (_BLUE, _ORANGE, _TEAL)[number // 2], ("-", "--")[number % 2]
        axes.plot(cases, milliseconds, style, marker="o", color=colour, label=name)
    axes.set(title="milliseconds of a call, one at a time; grey: all others", yscale="log")
    _logarithmic(axes, cases, "cases of the project")
    return figure


def _workers() -> Figure:
    rows = figures("workers")["rows"]
    clients = sorted({row["clients"] for row in rows})
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    for axes, number in zip(figure.subplots(1, len(clients), sharey=True), clients, strict=True):
        calls = dict.fromkeys(row["call"] for row in rows)
        for call, colour in zip(calls, (_TEAL, _BLUE, _ORANGE), strict=True):
            mine = [row for row in rows if (row["call"], row["clients"]) == (call, number)]
            workers = [row["workers"] for row in mine]
            axes.plot(workers, [row["per_second"] for row in mine], marker="o", color=colour, label=call)
        axes.set(title=f"calls in a second, {number} clients", ylim=0)
        _logarithmic(axes, workers, "workers")
    return figure


def _logarithmic(axes: Axes, ticks: list[int], label: str) -> None:
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel(label)
    axes.grid(visible=True, axis="y")
    axes.legend()


_PLOTTED = {"contenders": "bench"}
_PLOTS = {
    "contenders": _contenders,
    "clients": _clients,
    "workspaces": _workspaces,
    "scale": _scale,
    "workers": _workers,
}


if __name__ == "__main__":
    write()
