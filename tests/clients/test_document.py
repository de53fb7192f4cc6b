"""docs/clients.md says what is so: its snippets are ours, its examples run, its messages and versions are real."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

import pytest

from service.snippets import snippets
from tests.clients.environments import NODE_MODULES, PROGRAMS, ROOT, environment, node, or_skip, pinned
from tests.clients.matrix import DOCUMENT, kept
from tests.clients.runs import RUNS

URL, KEY = "http://127.0.0.1:8520/mcp", "to_live_…"
TEXT = DOCUMENT.read_text(encoding="utf-8")
_EXAMPLE = re.compile(r"^\*\*(.+?)\*\*[^\n]*\n\n```\w+\n(.*?)```", re.MULTILINE | re.DOTALL)
EXAMPLES = dict(_EXAMPLE.findall(TEXT.partition("## From a program")[2]))


@pytest.mark.parametrize("snippet", snippets(URL, KEY), ids=lambda snippet: snippet.client)
def test_a_snippet_is_as_the_service_gives_it(snippet):
    assert f"**{snippet.client}** ({snippet.where})\n\n```{snippet.language}\n{snippet.text}\n```\n" in TEXT


@pytest.mark.parametrize("snippet", snippets(URL, KEY)[:2], ids=lambda snippet: snippet.client)
def test_the_readme_has_the_first_snippets(snippet):
    assert f"```{snippet.language}\n{snippet.text}\n```\n" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("run", RUNS, ids=str)
def test_the_message_about_a_wrong_key_is_explained(run):
    told = TEXT.partition("## When it does not work")[2]
    assert run.wrong_key.partition(". ")[0] in told


def test_the_table_is_of_these_clients_and_versions():
    assert [(row["client"], row["version"], row["era"]) for row in kept()] == [
        (run.client, pinned()[run.package], run.era) for run in RUNS
    ]


def _curl(text: str) -> list:
    return shlex.split(text.replace("\\\n", ""))


def _inspector(text: str) -> list:
    words = shlex.split(text.replace("\\\n", ""))
    assert words[:3] == ["npx", "-y", "@modelcontextprotocol/inspector"]
    return [node(), NODE_MODULES / ".bin" / "mcp-inspector", *words[3:]]


def _typescript(text: str) -> list:
    return [node(), "--input-type=module", "--eval", text]


COMMANDS = {
    "curl": _curl,
    "Python": lambda text: [sys.executable, "-c", text],
    "TypeScript": _typescript,
    "MCP Inspector": _inspector,
}


@pytest.mark.usefixtures("installing")
@pytest.mark.parametrize("client", COMMANDS)
def test_an_example_runs(client, acme, tmp_path):
    text = EXAMPLES[client].replace(URL, f"http://{acme.host}:{acme.port}/mcp").replace(KEY, acme.people["lead"].key)
    command = or_skip(lambda: COMMANDS[client](text))
    done = subprocess.run(  # noqa: S603 - of our own document
        command, capture_output=True, text=True, check=False, cwd=PROGRAMS, env=environment(tmp_path), timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"\bname\W+main\b", done.stdout)


def test_every_example_is_tried():
    assert set(EXAMPLES) == set(COMMANDS)
