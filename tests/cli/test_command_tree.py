"""Every command of the tree explains itself, and starts without importing what others need."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.core import TyperGroup

from service import __version__
from service.cli.main import COMMANDS, load
from tests.cli.test_operate import COMMAND, run

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parent.parent.parent
PROGRAM = "testorchestrator"
# They run until they are stopped, and what they tell goes to the log; or print a shell's script.
WITHOUT_JSON = {"serve", "exporter", "migrate"}
# What only one command needs: the web framework, the renderer of migrations, the demo workspace.
HEAVY = ("quart", "hypercorn", "alembic", "sqlalchemy", "pydantic_settings", "service.demo", "service.tools")


def walk(name, command):
    """All commands below *command*, by their whole names."""
    if isinstance(command, TyperGroup):
        for sub_name, sub_command in command.commands.items():
            yield from walk(f"{name} {sub_name}", sub_command)
    else:
        yield name, command


TREE = {name: command for top in COMMANDS for name, command in walk(top, load(top))}
GROUPS = {name: command for name in COMMANDS if isinstance(command := load(name), TyperGroup)}
every_command = pytest.mark.parametrize("name", TREE)


def examples(command):
    """What the help shows as examples: the rest of each line that begins with "Example: testorchestrator"."""
    text = re.sub(r"\n(?!\n)", " ", command.help or "").replace("\x08", "")
    return re.findall(rf"Examples?: ({PROGRAM} .*?)(?= *\n|$)", text)


def parse(line):
    """Parse a command line to its end without running it; raises what the user would be told."""
    program, name, *words = shlex.split(line)
    assert program == PROGRAM
    command = load(name)
    while isinstance(command, TyperGroup):
        name, command = words[0], command.commands[words.pop(0)]
    command.make_context(name, words)


@every_command
def test_help_says_what_the_command_does(name):
    assert re.match(r"[A-Z].+[.:]", TREE[name].help or ""), "begin the docstring with a sentence"


@every_command
def test_help_has_an_example_that_the_command_takes(name):
    found = examples(TREE[name])
    assert found, f'end the docstring of {name} with "Example: {PROGRAM} {name} …"'
    for line in found:
        assert line.startswith(f"{PROGRAM} {name}")
        parse(line)


@every_command
def test_parameters_are_explained(name):
    unexplained = [param.name for param in TREE[name].params if not getattr(param, "help", None)]
    assert unexplained == []


@every_command
def test_what_prints_can_print_json(name):
    options = {option for param in TREE[name].params for option in param.opts}
    assert ("--json" in options) or name in WITHOUT_JSON, "take AsJson of service.cli.console"


@every_command
def test_names_of_workspaces_are_completed(name):
    """Of workspaces that are there: use Slug and InWorkspace of service.cli.console."""
    for param in TREE[name].params:
        if param.metavar == "WORKSPACE" or "--workspace" in param.opts:
            assert param._custom_shell_complete is not None, param.name


@pytest.mark.parametrize("name", COMMANDS)
def test_the_overview_says_of_a_command_what_its_own_help_begins_with(name):
    told = re.sub(r"\s+", " ", load(name).help)
    shown = COMMANDS[name].summary
    assert told.startswith(shown.rstrip(".")), told


def test_an_example_that_does_not_parse_is_found():
    for line in (
        "testorchestrator key list",
        "testorchestrator key list --workspace",
        "testorchestrator key list --workspace acme --colour",
        "testorchestrator serve --port many",
    ):
        with pytest.raises(Exception, match=r"(?i)missing|requires|no such|valid integer"):
            parse(line)


def test_commands_of_the_guides_are_taken():
    lines = [
        line
        for guide in (ROOT / "docs").glob("*.md")
        for line in re.findall(rf"^(?:\S*=\S+ )*({PROGRAM} [a-z][^`#>\n]*)", guide.read_text(), re.MULTILINE)
    ]
    assert len(lines) > 15
    for line in lines:
        parse(line)


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["key", "list", "--help"], ["user", "activate", "--help"]],
    ids=" ".join,
)
def test_a_command_imports_only_what_it_needs(arguments):
    program = (
        "import sys, runpy, atexit\n"
        "atexit.register(lambda: sys.stderr.write(' '.join(sys.modules)))\n"
        f"sys.argv = {['testorchestrator', *arguments]!r}\n"
        "runpy.run_module('service.cli', run_name='__main__')"
    )
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-P", "-c", program], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert [name for name in HEAVY if name in done.stderr.split()] == []


def test_version():
    assert run("--version").stdout == f"{PROGRAM} {__version__}\n"


def test_exit_codes_are_those_of_the_help():
    told = run("--help", COLUMNS="200").stdout
    assert "0 done, 1 refused or failed (the reason is one line), 2 wrong usage, 130 interrupted" in told
    assert run("key", "list", "--workspace", "acme").returncode == 1
    assert run("key", "list", "--nonsense").returncode == 2
    assert run("nonsense").returncode == 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_told_how_to_complete(shell):
    """As Typer finds it out: by the shell that it was started from."""
    done = run("--show-completion", shell, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert done.returncode == 0, done.stderr
    assert "_TESTORCHESTRATOR_COMPLETE" in done.stdout


def completed(line, **environment):
    """What bash would offer after *line*."""
    done = run(
        _TESTORCHESTRATOR_COMPLETE="complete_bash",
        COMP_WORDS=line,
        COMP_CWORD=str(len(line.split(" ")) - 1),
        **environment,
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_commands_and_options_are_completed():
    assert completed("testorchestrator work") == ["workspace"]
    assert completed("testorchestrator workspace su") == ["suspend"]
    assert completed("testorchestrator key list --wor") == ["--workspace"]


@pytest.mark.parametrize("url", [None, "postgresql://x@127.0.0.1:1/x", "nonsense"])
def test_without_a_database_no_name_is_offered_and_nothing_said(url):
    environment = {} if url is None else {"DATABASE_URL": url}
    assert completed("testorchestrator workspace suspend ", **environment) == []


def test_a_broken_pipe_is_silent():
    for arguments in (["--help"], ["workspace", "verify", "--help"]):
        command = shlex.join([*COMMAND, *arguments])
        done = subprocess.run(  # noqa: S603 - our own program
            ["/bin/sh", "-c", f"{command} | true"], capture_output=True, text=True, check=False, timeout=60
        )
        assert done.stderr == ""


@pytest.mark.parametrize("name", ["DATABASE_URL", "TESTORCHESTRATOR_STRICT_SECRET"])
def test_a_secret_can_come_as_a_file(name, tmp_path):
    file = tmp_path / "secret"
    file.write_text("postgresql://nobody:hidden-word@127.0.0.1:1/x\n")
    others = {"DATABASE_URL": "postgresql://x@127.0.0.1:1/x"} if name != "DATABASE_URL" else {}
    done = run("key", "list", "--workspace", "acme", **{f"{name}_FILE": str(file)}, **others)
    assert done.returncode == 1
    assert "no connection to the server" in done.stderr
    assert "hidden-word" not in done.stderr


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"DATABASE_URL_FILE": "/nowhere/secret"}, "DATABASE_URL_FILE: /nowhere/secret: No such file or directory."),
        ({"DATABASE_URL_FILE": __file__, "DATABASE_URL": "x"}, "Both DATABASE_URL and DATABASE_URL_FILE are set"),
    ],
    ids=["missing", "both"],
)
def test_a_secret_file_that_cannot_be_used_is_one_line(environment, told):
    done = run("key", "list", "--workspace", "acme", **environment)
    assert done.returncode == 1
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_unknown_setting_in_a_file_is_refused_as_any_other(tmp_path):
    file = tmp_path / "secret"
    file.write_text("1")
    done = run("serve", SERVICE_DATABASE_URL="postgresql://x", TESTORCHESTRATOR_POOLSIZE_FILE=str(file))
    assert done.returncode == 1
    assert "Unknown setting TESTORCHESTRATOR_POOLSIZE" in done.stderr
    assert os.environ.get("TESTORCHESTRATOR_POOLSIZE") is None
