"""Contenders in interleaved rounds, since machines are noisy: what each round showed, and the medians."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, TypeVar

from rich.progress import Progress

from tests.bench.terminal import notes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Name = TypeVar("Name")
Figures = dict[str, float]


def interleaved(contenders: Mapping[Name, Callable[[], Figures]], rounds: int) -> dict[Name, list[Figures]]:
    """Run all contenders in turn, once to warm up and then so many *rounds*; return what those showed.

    Without rounds, return what the first turn showed.
    """
    found: dict[Name, list[Figures]] = {name: [] for name in contenders}
    with Progress(console=notes, transient=True) as progress:
        turns = range(-1 if rounds else 0, rounds or 1)
        task = progress.add_task("Measuring", total=len(turns) * len(contenders))
        for turn in turns:
            for name, run in contenders.items():
                figures = run()
                if turn >= 0:
                    found[name].append(figures)
                progress.advance(task)
    return found


def medians(rounds: Mapping[Name, list[Figures]]) -> dict[Name, Figures]:
    """Return the median of each figure over the rounds."""
    return {
        name: {key: statistics.median(one[key] for one in found) for key in found[0]} for name, found in rounds.items()
    }
