"""The script dev, in a folder of its own and with a stand-in for Python that notes what it is asked to run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[1] / "dev"
SECONDS = 20

PYTHON = """#!/bin/sh
echo "$*" >>"$NOTES"
case "$*" in
    "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
    "-m pip "*) sleep "${PIP_SECONDS-0}"; echo "pip has its say"; exit "${PIP_EXIT-0}" ;;
    *ensurepip*) exit "${ENSUREPIP_EXIT-0}" ;;
    *version_info*2\\]*) echo "Python 3.11" ;;
    -c*) exit 0 ;;
    *sleepy*) exec sleep 60 ;;
    *) printf '%s\\n' "$PWD" "$@"; exit "${EXIT-0}" ;;
esac
"""


class Checkout:
    """A copy of the script in *folder*, which is called with the stand-in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notes = folder.parent / "notes"
        self.programs = folder.parent / "programs"
        for made in (folder, self.programs):
            made.mkdir(parents=True)
        shutil.copy(SCRIPT, folder)
        (folder / "pyproject.toml").write_text("[project]\n")
        self.notes.touch()
        self.put_python("python3", PYTHON)

    def put_python(self, name: str, text: str) -> None:
        (self.programs / name).write_text(text)
        (self.programs / name).chmod(0o755)

    def start(self, *arguments: str, script: Path | None = None, cwd: Path | None = None, **more: str) -> Any:
        environment = {"PATH": f"{self.programs}:{os.defpath}", "NOTES": str(self.notes), **more}
        command = [script or self.folder / "dev", *arguments]
        return subprocess.Popen(  # noqa: S603
            command, env=environment, cwd=cwd, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def run(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        with self.start(*arguments, **options) as process:
            out, err = process.communicate(timeout=SECONDS)
            return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def installations(self) -> int:
        return self.notes.read_text().count("-m pip install")


@pytest.fixture
def checkout(tmp_path) -> Checkout:
    return Checkout(tmp_path / "a folder" / "repository")


@pytest.mark.parametrize("arguments", [[], ["help"], ["--help"]])
def test_help_lists_the_commands_and_makes_nothing(checkout, arguments):
    result = checkout.run(*arguments)
    assert result.returncode == 0
    for command in ("up", "test", "lint", "types", "check", "bench"):
        assert f"\n  {command} [" in result.stdout
    assert not (checkout.folder / ".venv").exists()


def test_an_unknown_option_is_refused_before_anything_is_made(checkout):
    result = checkout.run("--sideways")
    assert (result.returncode, result.stdout) == (2, "")
    assert not (checkout.folder / ".venv").exists()


def test_an_unknown_command_ends_as_the_program_says(checkout):
    result = checkout.run("sideways", EXIT="2")
    assert result.returncode == 2
    assert result.stdout.splitlines()[1:] == ["-P", "-m", "service.cli", "sideways"]


def test_the_first_command_installs_in_one_line_and_the_second_runs_at_once(checkout):
    first = checkout.run("up", "--json", "two words")
    second = checkout.run("up", "--json", "two words")
    assert first.stdout == second.stdout
    assert first.stdout.splitlines()[1:] == ["-P", "-m", "service.cli", "up", "--json", "two words"]
    assert first.stderr == "dev: Installing dependencies (once, about a minute)...\n"
    assert second.stderr == ""
    assert checkout.installations() == 1


def test_changed_dependencies_are_installed_in_the_same_environment(checkout):
    checkout.run("up")
    kept = checkout.folder / ".venv/kept"
    kept.touch()
    (checkout.folder / "pyproject.toml").write_text("[project]\nname = 'changed'\n")
    checkout.run("up")
    assert checkout.installations() == 2
    assert kept.exists()


def test_a_moved_repository_gets_a_new_environment(checkout, tmp_path):
    checkout.run("up")
    (checkout.folder / ".venv/old").touch()
    moved = checkout.folder.rename(tmp_path / "moved")
    checkout.run("up", script=moved / "dev")
    assert checkout.installations() == 2
    assert not (moved / ".venv/old").exists()


def test_a_failed_installation_shows_its_output_and_is_tried_again(checkout):
    failed = checkout.run("up", PIP_EXIT="1")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "pip has its say" in failed.stderr
    assert checkout.run("up").returncode == 0
    assert checkout.installations() == 2


def test_a_python_without_venv_names_debians_package_and_leaves_nothing(checkout):
    result = checkout.run("up", ENSUREPIP_EXIT="1")
    assert result.returncode == 1
    assert "apt install python3-venv" in result.stderr
    assert not list(checkout.folder.glob(".venv*"))


def test_without_a_new_enough_python_it_says_which_it_needs(checkout):
    for name in ("python3", *(f"python3.{minor}" for minor in range(11, 15))):
        checkout.put_python(name, "#!/bin/sh\nexit 1\n")
    result = checkout.run("up")
    assert result.returncode == 1
    assert "needs Python 3.11 or newer" in result.stderr
    assert not list(checkout.folder.glob(".venv*"))


def test_paths_are_meant_from_the_callers_folder_and_the_words_of_options_are_none(checkout):
    below = checkout.folder / "tests"
    below.mkdir()
    (below / "test_a.py").touch()
    result = checkout.run("test", "test_a.py::test_b", "-k", "test_a.py", "missing.py", cwd=below)
    asked = ["-m", "pytest", f"{below}/test_a.py::test_b", "-k", "test_a.py", "missing.py"]
    assert result.stdout.splitlines() == [str(checkout.folder), *asked]


def test_it_works_through_a_link_with_a_space(checkout, tmp_path):
    link = tmp_path / "a link"
    link.symlink_to(checkout.folder)
    checkout.run("up")
    assert checkout.run("up", script=link / "dev").returncode == 0
    assert checkout.installations() == 1


def test_check_stops_at_the_first_failure(checkout):
    result = checkout.run("check", EXIT="3")
    assert result.returncode == 3
    assert result.stdout.splitlines()[1:] == ["-m", "ruff", "check"]


def test_of_two_first_commands_at_once_one_installs(checkout):
    with checkout.start("up", PIP_SECONDS="0.3") as one, checkout.start("up", PIP_SECONDS="0.3") as other:
        codes = [process.communicate(timeout=SECONDS) and process.returncode for process in (one, other)]
    assert codes == [0, 0]
    assert checkout.installations() == 1


def test_the_lock_of_a_killed_installation_is_no_matter(checkout):
    with subprocess.Popen(["/bin/true"]) as ended:
        pass
    (checkout.folder / ".venv-lock").mkdir()
    (checkout.folder / ".venv-lock/pid").write_text(str(ended.pid))
    assert checkout.run("up").returncode == 0
    assert not (checkout.folder / ".venv-lock").exists()


def test_signals_reach_the_program_itself(checkout):
    checkout.run("up")
    with checkout.start("sleepy") as process:
        while "sleepy" not in Path(f"/proc/{process.pid}/cmdline").read_text():
            pass
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == -signal.SIGTERM
