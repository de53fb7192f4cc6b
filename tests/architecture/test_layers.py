"""Dependencies point down only."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parent.parent.parent

# Each package, and what of ours it may import besides itself.
ALLOWED = {
    "migrations": set(),
    "tenancy": {"migrations"},
    "service.errors": set(),
    "service.calls": set(),
    "service.sql": set(),
    "service.logs": set(),
    "service.settings": {"service.errors"},
    "service.healthcheck": set(),
    "service.health": {"tenancy"},
    "service.metrics": {"tenancy", "service.mcp"},
    "service.access": {"tenancy", "service.errors", "service.sql"},
    "service.audit": {"tenancy", "service.sql"},
    "service.domain": {"tenancy", "service.access", "service.audit", "service.errors", "service.sql"},
    "service.demo": {"tenancy", "service.domain", "service.sql"},
    "service.tools": {
        "tenancy", "service.domain", "service.access", "service.audit", "service.errors", "service.sql",
        "service.calls",
    },
    "service.http_servers": {"service.errors"},
    "service.connections": set(),
    "service.limits": set(),
    "service.plain_http": set(),
    "service.links": set(),
    "service.snippets": set(),
    "service.mail": {"service.settings"},
    "service.mcp": {"service.calls", "service.limits"},
    "service.web": {
        "tenancy", "service.domain", "service.access", "service.audit", "service.errors", "service.limits",
        "service.links", "service.mail", "service.settings", "service.snippets",
    },
    "service.app": {
        "tenancy", "migrations", "service.tools", "service.mcp", "service.web", "service.limits", "service.plain_http",
        "service.settings", "service.health", "service.metrics", "service",
    },
    "service.server": {
        "tenancy", "migrations", "service.app", "service.http_servers", "service.settings", "service.metrics",
        "service.connections", "service.mcp", "service",
    },
    "service.asgi": {
        "migrations", "service.app", "service.logs", "service.metrics", "service.server", "service.settings",
        "service",
    },
    "service.supervisor": set(),
    "service.workers": {
        "tenancy", "service.http_servers", "service.server", "service.supervisor", "service.metrics",
        "service.settings",
    },
    "service.cli": {
        "tenancy", "migrations", "service.domain", "service.demo", "service.errors", "service.http_servers",
        "service.logs", "service.server", "service.workers", "service.settings", "service.links", "service.snippets",
        "service.metrics", "service.connections", "service",
    },
}  # fmt: skip


def package_of(module: str) -> str:
    parts = module.split(".")
    return parts[0] if parts[0] != "service" else ".".join(parts[:2])


def wrong_imports(source: str, package: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"service.{alias.name}" for alias in node.names] if node.module == "service" else [node.module]
            if node.module == "service" and all(alias.name == "__version__" for alias in node.names):
                names = ["service"]
        for name in names:
            if name and name.split(".")[0] in {"service", "tenancy", "migrations"}:
                target = package_of(name)
                if target != package and target not in ALLOWED[package]:
                    found.add(name)
    return found


@pytest.mark.parametrize("package", ALLOWED)
def test_package_imports_only_what_is_below_it(package):
    path = ROOT.joinpath(*package.split("."))
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
    # Alembic's drafting tool is the developer's, and starts a server.
    files = [file for file in files if file.name != "revise.py"]
    assert files
    assert {str(f.relative_to(ROOT)): w for f in files if (w := wrong_imports(f.read_text(), package))} == {}


def test_every_package_is_in_the_table():
    here = {
        f"service.{p.stem}"
        for p in (ROOT / "service").iterdir()
        if not p.name.startswith(("_", ".")) and p.suffix != ".typed"
    }
    assert here <= set(ALLOWED)


def test_a_wrong_import_is_found():
    assert wrong_imports("from service.tools.host import ToolHost", "service.domain") == {"service.tools.host"}
    assert wrong_imports("import service.mcp.http", "service.tools") == {"service.mcp.http"}
    assert wrong_imports("from service.calls import CallResult", "service.mcp") == set()


def test_no_module_is_named_after_nothing():
    names = {file.stem for folder in ("service", "tenancy", "migrations") for file in (ROOT / folder).rglob("*.py")}
    assert not names & {"utils", "util", "helpers", "helper", "common", "misc", "manager"}
