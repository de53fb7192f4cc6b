"""The official conformance suite against the service, with a real key: every scenario of the three last revisions."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from tests.clients.environments import NODE_MODULES, PROGRAMS, environment, node, or_skip
from tests.conftest import serving

KNOWN = tomllib.loads((Path(__file__).parent / "conformance.toml").read_text(encoding="utf-8"))
SCENARIOS = [(revision, name) for name, revisions in KNOWN["scenarios"].items() for revision in revisions]
REVISIONS = sorted({revision for revision, _ in SCENARIOS})
ABSENT = {entry: capability for capability, entries in KNOWN["absent"].items() for entry in entries}
SUITE = NODE_MODULES / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
FAILED = {"FAILURE", "WARNING"}
_PATIENCE_SECONDS = 120

pytestmark = pytest.mark.usefixtures("installing")


@contextmanager
def proxied(binary: Path, world):
    """The URL of a proxy that adds a key before a service that takes the proxy's origin."""
    process = subprocess.Popen(  # noqa: S603 - our own program
        [binary, PROGRAMS / "proxy.mjs"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        origin = f"http://localhost:{process.stdout.readline().strip()}"
        with serving(world.service_url, allowed_origins=frozenset({origin})) as (_, port):
            process.stdin.write(json.dumps({"port": port, "key": world.acme.people["lead"].key}) + "\n")
            process.stdin.flush()
            yield f"{origin}/mcp"
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


@pytest.fixture(scope="module")
def suite(world, tmp_path_factory):
    """Runs the whole suite at a revision, once; the status of each check by its scenario and id."""
    binary = or_skip(node)
    with proxied(binary, world) as url:

        @cache
        def run(revision: str) -> dict[str, dict[str, str]]:
            folder = tmp_path_factory.mktemp(revision)
            options = ["--url", url, "--suite", "all", "--spec-version", revision, "-o", folder]
            _suite(binary, "server", *options)
            return {_scenario(path): _checks(path) for path in folder.glob("*/checks.json")}

        yield run


def _suite(binary: Path, *arguments) -> str:
    done = subprocess.run(  # noqa: S603 - the suite
        [binary, SUITE, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment(Path.cwd()),
        timeout=_PATIENCE_SECONDS,
    )
    return COLOUR.sub("", done.stdout)


def _scenario(path: Path) -> str:
    return re.fullmatch(r"server-(.+?)-\d{4}-\d\d-\d\dT.*", path.parent.name)[1]


def _checks(path: Path) -> dict[str, str]:
    """Return the status of each check; of one that was made several times, a failure if there is one."""
    checks: dict[str, str] = {}
    for check in json.loads(path.read_text(encoding="utf-8")):
        if checks.get(check["id"]) not in FAILED:
            checks[check["id"]] = check["status"]
    return checks


def _excused(scenario: str, check: str) -> bool:
    # That messages have the right form is asked of every scenario.
    return f"{scenario}:{check}" in ABSENT or (scenario in ABSENT and check != "wire-schema-valid")


@pytest.mark.parametrize(("revision", "scenario"), SCENARIOS, ids=lambda value: value)
def test_a_scenario_passes_but_for_what_is_deliberately_absent(revision, scenario, suite):
    checks = suite(revision)[scenario]
    failed = {check for check, status in checks.items() if status in FAILED}
    assert not {check for check in failed if not _excused(scenario, check)}
    excused = {entry.partition(":")[2] for entry in ABSENT if entry.startswith(f"{scenario}:")} & set(checks)
    assert excused <= failed, "passes, though it is listed as absent"
    assert failed or scenario not in ABSENT, "passes, though it is listed as absent"


@pytest.mark.parametrize("revision", REVISIONS)
def test_the_list_is_the_suites(revision, suite, row):
    results = suite(revision)
    assert {scenario for at, scenario in SCENARIOS if at == revision} == set(results)
    applies = [checks for name, checks in results.items() if name not in ABSENT]
    statuses = [status for checks in applies for status in checks.values()]
    row(
        "conformance",
        revision=revision,
        scenarios=len(results),
        **{"whole scenarios absent": len(results) - len(applies), "apply": len(applies)},
        **{"checks passed": statuses.count("SUCCESS"), "checks absent": sum(status in FAILED for status in statuses)},
    )


def test_what_is_listed_as_absent_is_in_the_suite():
    assert {entry.partition(":")[0] for entry in ABSENT} <= set(KNOWN["scenarios"])
