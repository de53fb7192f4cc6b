"""docs/performance.md shows the figures that are kept beside it."""

from __future__ import annotations

import pytest

from tests.bench.report import DOCUMENT, FIGURES, fill

pytestmark = pytest.mark.unit


def test_the_tables_are_of_the_figures():
    text = DOCUMENT.read_text(encoding="utf-8")
    assert fill(text) == text


def test_a_place_that_is_missing_is_told():
    text = DOCUMENT.read_text(encoding="utf-8")
    with pytest.raises(SystemExit, match="no place for the figures of clients"):
        fill(text.replace("<!-- figures: clients -->", ""))


def test_every_plot_is_shown():
    text = DOCUMENT.read_text(encoding="utf-8")
    assert all(f"](performance/{plot.name})" in text for plot in FIGURES.glob("*.svg"))
