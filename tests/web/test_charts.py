"""Charts are well-formed SVG with a name and a description, whatever the figures and the names are."""

from __future__ import annotations

import datetime as dt
import math
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.web.charts import (
    Day,
    Kind,
    Look,
    donut,
    in_order,
    mark,
    pass_rate_line,
    progress_bar,
    results_over_time,
    sparkline,
    spoken,
    textures,
)

pytestmark = pytest.mark.unit

# What XML can hold: names come from the database, which takes a few characters more that browsers drop.
NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), min_size=1)
LOOKS = {
    name: Look(name=name, color="#123456", kind=kind)
    for name, kind in (
        ("Untested", Kind.INITIAL),
        ("Passed", Kind.SUCCESS),
        ("Failed", Kind.FAILURE),
        ("Blocked", Kind.PENDING),
        ("Skipped", Kind.DONE),
    )
}
COUNTS = st.dictionaries(st.sampled_from(sorted(LOOKS)), st.integers(0, 10**9))
MONDAY = dt.date(2026, 3, 2)


def parsed(svg: str) -> ET.Element:
    element = ET.fromstring(svg)  # noqa: S314 - our own
    assert element.get("role") == "img"
    assert [child.tag for child in element][:2] == ["title", "desc"]
    assert "style" not in {name for part in element.iter() for name in part.attrib}
    return element


def days_of(counts, rates):
    return [
        Day(day=MONDAY + dt.timedelta(days=n), counts=c, pass_rate=r)
        for n, (c, r) in enumerate(zip(counts, rates, strict=True))
    ]


@given(COUNTS)
def test_the_shares_of_a_donut_and_of_a_bar_fill_it(counts):
    ring = parsed(donut(counts, LOOKS, name="Statuses", inside="50%", below="done"))
    arcs = [part for part in ring.iter("circle") if part.get("class", "").startswith("kind-")]
    shown = [count for count in counts.values() if count]
    assert len(arcs) == len(shown)
    for arc in arcs:
        length, rest = map(float, arc.get("stroke-dasharray").split())
        assert math.isclose(length + rest, 100, abs_tol=0.05)
    bar = parsed(progress_bar(counts, LOOKS, name="Progress"))
    boxes = [part for part in bar.iter("rect") if part.get("class", "").startswith("kind-")]
    assert len(boxes) == len(shown)
    assert all(0 <= float(box.get("x")[:-1]) <= 100 for box in boxes)


def test_what_is_all_of_it_is_a_whole_ring():
    ring = parsed(donut({"Passed": 7}, LOOKS, name="Statuses", inside="100%", below="done"))
    [arc] = [part for part in ring.iter("circle") if part.get("class") == "kind-success"]
    assert arc.get("stroke-dasharray") == "100 0"


def test_nothing_is_said_to_be_nothing():
    assert spoken({}, LOOKS) == spoken({"Passed": 0}, LOOKS) == "Nothing."
    for chart in (
        progress_bar({}, LOOKS, name="Progress"),
        donut({"Failed": 0}, LOOKS, name="Statuses", inside="0%", below="done"),
        results_over_time([], LOOKS, name="Results"),
        pass_rate_line([], name="Pass rate"),
        sparkline([], name="Trend"),
    ):
        assert not list(parsed(chart).iter("rect"))


def test_kinds_differ_without_colour():
    bar = progress_bar({"Passed": 1, "Failed": 1, "Blocked": 1, "Skipped": 1, "Untested": 1}, LOOKS, name="Progress")
    for kind in ("failure", "pending", "done"):
        assert f"url(#texture-{kind})" in bar
        assert f'id="texture-{kind}"' in textures()
    glyphs = {mark(look).split('d="')[1] for look in LOOKS.values()}
    assert len(glyphs) == len(LOOKS)


def test_what_is_done_comes_first_and_what_has_no_result_last():
    counts = {"Untested": 1, "Blocked": 2, "Failed": 3, "Passed": 4}
    assert [look.name for look, _ in in_order(counts, LOOKS)] == ["Passed", "Failed", "Blocked", "Untested"]


@given(st.lists(st.tuples(COUNTS, st.none() | st.floats(0, 1)), max_size=90))
def test_columns_stand_within_the_chart(figures):
    days = days_of([c for c, _ in figures], [r for _, r in figures])
    for box in parsed(results_over_time(days, LOOKS, name="Results")).iter("rect"):
        assert -0.01 <= float(box.get("y")) <= 160
        assert float(box.get("y")) + float(box.get("height")) <= 160.05
    dots = list(parsed(pass_rate_line(days, name="Pass rate")).iter("circle"))
    assert len(dots) == sum(rate is not None for _, rate in figures)
    assert all(0 <= float(dot.get("cy")) <= 160 for dot in dots)


@given(st.lists(st.floats(-1e9, 1e9)))
def test_a_sparkline_stays_in_its_box(values):
    points = parsed(sparkline(values, name="Trend")).find("polyline").get("points").split()
    assert len(points) == len(values)
    assert all(0 <= float(number) <= 96 for point in points for number in point.split(","))


@given(NAMES, NAMES)
def test_names_are_shown_as_the_text_that_they_are(name, status):
    looks = {status: Look(name=status, color="#123456", kind=Kind.FAILURE)}
    hostile = f'{name}"><script>alert(1)</script>'
    chart = parsed(donut({status: 3}, looks, name=hostile, inside=hostile, below=hostile))
    assert chart.find("title").text == hostile
    assert chart.find("desc").text == f"{status} 3"
    assert not list(chart.iter("script"))
    assert parsed(progress_bar({status: 3}, looks, name=hostile)).find("title").text == hostile
    columns = results_over_time(days_of([{status: 3}], [1.0]), looks, name=hostile)
    assert not list(parsed(columns).iter("script"))
