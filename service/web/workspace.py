"""The pages of a workspace's projects, and what their templates can use: charts, and how things are written."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from markupsafe import Markup

from service.web import case_pages, charts, cycle_pages, project_pages, run_pages, traceability_pages
from service.web.charts import Kind, Look
from service.web.looks import deed, duration, moment, percent
from service.web.markdown import is_safe_link, render

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jinja2 import Environment

#: The modules of the pages, whose import declares them.
PAGES = (project_pages, case_pages, run_pages, cycle_pages, traceability_pages)

_VERDICTS = {
    "PASSING": Look(name="Passing", color="#1a7f37", kind=Kind.SUCCESS),
    "FAILING": Look(name="Failing", color="#cf222e", kind=Kind.FAILURE),
    "UNTESTED": Look(name="Untested", color="#9a6700", kind=Kind.PENDING),
    "NOT_COVERED": Look(name="Not covered", color="#6b7280", kind=Kind.INITIAL),
}
_PARTS = {"lifecycleState": "state", "estimateSeconds": "estimate"}


def teach(environment: Environment) -> None:
    """Give the templates what the workspace's pages use."""
    environment.filters |= {
        "day": _day,
        "deed": deed,
        "duration": duration,
        "markdown": render,
        "moment": moment,
        "part_name": _part_name,
        "percent": percent,
        "safe_link": is_safe_link,
    }
    environment.globals |= {
        "donut": charts.donut,
        "in_order": charts.in_order,
        "mark": charts.mark,
        "pass_rate_line": charts.pass_rate_line,
        "progress_bar": charts.progress_bar,
        "results_over_time": charts.results_over_time,
        "selected": _selected,
        "sparkline": charts.sparkline,
        "textures": charts.textures,
        "verdict_looks": _VERDICTS,
    }


def _day(value: str) -> str:
    return f"{dt.date.fromisoformat(value):%d %b %Y}"


def _part_name(name: str, labels: Mapping[str, str]) -> str:
    """Return what a part of a case is called: of a field its label."""
    system_name = name.removeprefix("fields.")
    return labels.get(system_name, system_name) if system_name != name else _PARTS.get(name, name)


def _selected(value: object, given: object) -> Markup:
    return Markup(" selected") if str(value) == str(given) else Markup()
