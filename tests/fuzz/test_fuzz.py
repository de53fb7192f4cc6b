"""Whatever is sent, the answer is a declared one: never a 5xx, never an undeclared error, never a hang.

20,000 calls: a fifth made by Hypothesis from the schemas, the others mutations of right calls, which cost less to
make. FUZZ_CASES=500000 ./dev test tests/fuzz for more, then with other ones in every run.
"""

from __future__ import annotations

import json
import os
import secrets
from random import Random
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings

from service.errors import Code
from service.tools.catalog import TOOLS
from tenancy.connection import connect
from tests.fuzz.mutations import mutated, mutated_bytes, right_arguments
from tests.fuzz.strategies import arguments, envelopes
from tests.tools.conftest import Sql, make_objects

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.tools.registry import Tool
    from tests.conftest import Client

IS_LONG = "FUZZ_CASES" in os.environ
CASES = int(os.environ.get("FUZZ_CASES", "20000"))
SENT = "fuzz cases sent"
FUZZ = settings(
    max_examples=max(1, CASES // 10 // len(TOOLS)),
    deadline=None,
    database=None,
    derandomize=not IS_LONG,
    suppress_health_check=list(HealthCheck),
)
DECLARED = {code.value for code in Code} - {Code.SERVER_FAULT.value}
RPC_ERRORS = {-32700, -32600, -32601, -32602, -32020, -32021, -32022, -32001}
STATUSES = {200, 202, 400, 404, 406, 413, 415}
TOOL_IDS = [tool.name for tool in TOOLS]
VALIDATORS = {tool.name: jsonschema.Draft202012Validator(tool.listing()["outputSchema"]) for tool in TOOLS}


@pytest.fixture(scope="module")
async def target(world, acme):
    """A client of acme's Lead, and one object of each sort in a project of its own."""
    root = await connect(world.admin_url, name="root")
    sql = Sql(root, acme.workspace.schema_name)
    objects = await make_objects(sql, acme, await sql.new_project("fuzz"))
    client = acme.client()
    yield client, {**objects.ids, "project": objects.project}
    client.close()
    await root.close()


def check_result(tool_name: str, result: dict) -> None:
    if result.get("isError"):
        error = result["structuredContent"]["error"]
        assert error["code"] in DECLARED, error
        assert result["content"] == [{"type": "text", "text": error["message"]}]
    else:
        assert "error" not in result["structuredContent"]
    # Some clients hold a failed call to the schema too.
    if "structuredContent" in result:
        VALIDATORS[tool_name].validate(result["structuredContent"])


def check_call(client: Client, tool: Tool, sent: Any) -> None:
    message = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": tool.name, "arguments": sent}}
    status, _, body = client.post(json.dumps(message).encode())
    answer = json.loads(body)
    assert (status, answer["id"]) == (200, 7)
    if "error" in answer:
        assert answer["error"]["code"] == -32602, answer
    else:
        check_result(tool.name, answer["result"])


def check_post(client: Client, body: bytes, headers: dict[str, str]) -> None:
    status, _, answered = client.post(body, **headers)
    assert status in STATUSES, (status, answered)
    parsed = json.loads(answered) if answered else []
    for answer in parsed if isinstance(parsed, list) else [parsed]:
        assert answer["jsonrpc"] == "2.0"
        if "error" in answer:
            assert answer["error"]["code"] in RPC_ERRORS, answer
            assert answer["error"]["message"]


@pytest.mark.parametrize("tool", TOOLS, ids=TOOL_IDS)
def test_arguments(tool, target, figure):
    client, ids = target

    @FUZZ
    @given(arguments(tool, ids))
    def run(sent):
        check_call(client, tool, sent)
        figure(SENT)

    run()


@pytest.mark.parametrize("tool", TOOLS, ids=TOOL_IDS)
def test_envelopes(tool, target, figure):
    client, _ = target

    @FUZZ
    @given(envelopes(tool))
    def run(sent):
        body, headers = sent
        check_post(client, body, headers)
        figure(SENT)

    run()


def seeds(tool: Tool, what: str) -> Iterator[Random]:
    """Yield as many generators as there are cases for a tool; the seed is in the traceback of a failure."""
    for number in range(max(1, CASES * 2 // 5 // len(TOOLS))):
        seed = secrets.token_hex(8) if IS_LONG else f"{tool.name} {what} {number}"
        yield Random(seed)  # noqa: S311 - to repeat a failure


@pytest.mark.parametrize("tool", TOOLS, ids=TOOL_IDS)
def test_mutated_arguments(tool, target, figure):
    client, ids = target
    for random in seeds(tool, "arguments"):
        sent = right_arguments(tool, ids)
        for _ in range(random.randint(1, 3)):
            sent = mutated(random, sent)
        check_call(client, tool, sent)
        figure(SENT)


@pytest.mark.parametrize("tool", TOOLS, ids=TOOL_IDS)
def test_mutated_bytes(tool, target, figure):
    client, ids = target
    call = {"name": tool.name, "arguments": right_arguments(tool, ids)}
    body = json.dumps({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": call}).encode()
    for random in seeds(tool, "bytes"):
        check_post(client, mutated_bytes(random, body), {})
        figure(SENT)


def test_the_service_is_as_well_as_before(target):
    client, ids = target
    assert client.call("list_test_cases", project=ids["project"])["total"] >= 12
