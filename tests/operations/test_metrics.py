"""What Prometheus reads: every number moves when it should, on its own port only, and names nobody."""

from __future__ import annotations

import asyncio
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.cli.exporter import Workspaces
from service.errors import Code
from service.mcp.call_log import Entry
from service.metrics import Metrics
from service.tools.catalog import TOOLS
from tenancy.connection import connect
from tenancy.migrate import migrate
from tenancy.posture import look
from tenancy.roles import MONITOR
from tests.conftest import RpcFailed, ToolFailed, new_database, serving

PATIENCE = 30


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


def page(port, path="/metrics"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def samples(port):
    """Every sample by its name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page(port)[1])
        for sample in family.samples
    }


def value(port, name, **labels):
    return samples(port).get((name, frozenset(labels.items())), 0)


def expect(port, expected, name, **labels):
    """Wait until the sample has the value: a request is counted when it has been answered."""
    until = time.monotonic() + PATIENCE
    while (found := value(port, name, **labels)) != expected:
        assert time.monotonic() < until, (name, labels, found)
        threading.Event().wait(0.02)


@pytest.fixture
def measured(world, request):
    """A service with metrics and one connection, or so many: a client of it, and the port of the metrics."""
    port, size = free_port(), getattr(request, "param", 1)
    with serving(world.service_url, metrics_port=port, pool_size=size, pool_wait_seconds=0.2) as (host, public):
        client = type(world.acme)(world.acme.workspace, world.acme.people, world.acme.projects, host, public).client()
        yield client, port
        client.close()


def test_requests_are_counted_by_tool_and_outcome(measured, acme):
    client, port = measured
    client.rpc("ping")
    for _ in range(3):
        client.call("get_projects")
    with pytest.raises(ToolFailed):
        client.call("get_test_case", project=acme.project, caseId=1)
    with pytest.raises(RpcFailed):
        client.call("get_test_case")
    with pytest.raises(RpcFailed):
        client.call("made_up_by_the_client")
    requests = "testorchestrator_requests_total"
    expect(port, 1, requests, method="ping", tool="none", outcome="ok")
    expect(port, 3, requests, method="tools/call", tool="get_projects", outcome="ok")
    expect(port, 1, requests, method="tools/call", tool="get_test_case", outcome="tool_error")
    expect(port, 1, requests, method="tools/call", tool="get_test_case", outcome="rpc_error")
    expect(port, 1, requests, method="tools/call", tool="unknown", outcome="rpc_error")
    expect(port, 1, "testorchestrator_errors_total", code=Code.NOT_FOUND_OR_DENIED.value)
    expect(port, 2, "testorchestrator_errors_total", code="-32602")
    expect(port, 7, "testorchestrator_responses_total", status="200")
    seconds = "testorchestrator_request_seconds"
    expect(port, 3, f"{seconds}_count", method="tools/call", tool="get_projects")
    assert 0 < value(port, f"{seconds}_sum", method="tools/call", tool="get_projects") < PATIENCE
    # The key was looked up once, and confirmed by whatever worked for it since.
    expect(port, 1, "testorchestrator_authentication_seconds_count")
    assert "made_up" not in page(port)[1]


def test_refused_keys_and_a_full_pool_are_counted(measured):
    client, port = measured
    right, client.key = client.key, "nonsense"
    assert client.post(b"{}")[0] == 401
    client.key = right
    expect(port, 1, "testorchestrator_responses_total", status="401")
    expect(port, 1, "testorchestrator_requests_total", method="none", tool="none", outcome="refused")
    expect(port, 0, "testorchestrator_responses_total", status="429")


async def test_the_pool_and_the_errors_of_the_database_are_counted(measured, world):
    client, port = measured
    await asyncio.to_thread(client.call, "get_projects")
    pool = "testorchestrator_pool"
    expect(port, 1, f"{pool}_size", pool="service")
    expect(port, 1, f"{pool}_connections", pool="service", state="idle")
    expect(port, 0, f"{pool}_connections", pool="service", state="in_use")
    other = type(client)(client.host, client.port, client.key)
    blocker = await connect(world.admin_url, name="the test server")
    ping = b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}'
    async with blocker.transaction():
        await blocker.execute("LOCK TABLE control.api_keys IN ACCESS EXCLUSIVE MODE")
        held = asyncio.create_task(asyncio.to_thread(client.post, ping))
        while not await blocker.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        expect(port, 1, f"{pool}_connections", pool="service", state="in_use")
        assert (await asyncio.to_thread(other.post, ping))[0] == 503
        victim = await blocker.fetchval("SELECT pid FROM pg_locks WHERE NOT granted")
        await blocker.execute("SELECT pg_terminate_backend($1)", victim)
        assert (await held)[0] == 503
    await blocker.close()
    other.close()
    expect(port, 1, f"{pool}_waits_total", pool="service")
    expect(port, 1, f"{pool}_refused_total", pool="service")
    assert value(port, f"{pool}_wait_seconds_total", pool="service") > 0
    expect(port, 0, f"{pool}_waiting", pool="service")
    expect(port, 1, "testorchestrator_database_errors_total", **{"class": "unavailable"})
    expect(port, 2, "testorchestrator_responses_total", status="503")


@pytest.mark.parametrize("measured", [2], indirect=True)
async def test_who_waits_in_vain_since_its_workspace_has_its_share_is_counted_apart(measured, world):
    client, port = measured
    await asyncio.to_thread(client.call, "get_projects")
    other = type(client)(client.host, client.port, client.key)
    call = b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "get_projects", "arguments": {}}}'
    pool = "testorchestrator_pool"
    blocker = await connect(world.admin_url, name="the test server")
    async with blocker.transaction():
        await blocker.execute(f"LOCK TABLE {world.acme.workspace.schema_name}.projects IN ACCESS EXCLUSIVE MODE")
        held = asyncio.create_task(asyncio.to_thread(client.post, call))
        while not await blocker.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert (await asyncio.to_thread(other.post, call))[0] == 503
    assert (await held)[0] == 200
    await blocker.close()
    other.close()
    expect(port, 1, f"{pool}_over_share_total", pool="service")
    expect(port, 0, f"{pool}_refused_total", pool="service")
    expect(port, 0, f"{pool}_connections", pool="service", state="closing")


def test_labels_are_bounded_and_no_workspace_or_person_is_named(measured, world):
    client, port = measured
    for name in ("x" * 50, "get_projects\n", "acme", *(tool.name for tool in TOOLS)):
        with pytest.raises((RpcFailed, ToolFailed)):
            client.call(name, nonsense=1)
    client.post(b'{"jsonrpc": "2.0", "id": 1, "method": "made/up"}')
    expect(port, 1, "testorchestrator_requests_total", method="unknown", tool="none", outcome="rpc_error")
    _, text = page(port)
    tools = {labels for name, labels in samples(port) if name == "testorchestrator_requests_total"}
    assert {dict(labels)["tool"] for labels in tools} == {tool.name for tool in TOOLS} | {"unknown", "none"}
    assert {dict(labels)["method"] for labels in tools} == {"tools/call", "unknown"}
    for secret in ("acme", world.acme.workspace.schema_name, "lead@", client.key[:12], "made/up"):
        assert secret not in text


def test_metrics_are_on_their_own_port_only(measured):
    client, port = measured
    assert page(client.port)[0] == 404
    assert page(port)[0] == 200
    build = {name: dict(labels) for name, labels in samples(port) if name == "testorchestrator_build_info"}
    assert build["testorchestrator_build_info"]["schema_version"]
    assert value(port, "process_resident_memory_bytes") > 0


def test_no_metrics_without_a_port_and_one_line_where_it_is_taken(world):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        environment = {k: v for k, v in os.environ.items() if k != "DATABASE_URL"} | {
            "SERVICE_DATABASE_URL": world.service_url,
            "TESTORCHESTRATOR_METRICS_PORT": str(taken.getsockname()[1]),
        }
        done = subprocess.run(
            [sys.executable, "-P", "-m", "service.cli", "serve", "--port", "0"],
            env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE,
        )  # fmt: skip
    assert done.returncode == 1
    assert "TESTORCHESTRATOR_METRICS_PORT" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@contextmanager
def exporting(url):
    """The exporter as a process; its port."""
    port = free_port()
    environment = {k: v for k, v in os.environ.items() if not k.endswith("DATABASE_URL")} | {"DATABASE_URL": url}
    with subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-P", "-m", "service.cli", "exporter", "--port", str(port)],
        env=environment, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            process.stderr.readline()
            yield port
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()


def grants_of_the_guide(database):
    """What docs/operations.md tells operators to do."""
    guide = (Path(__file__).parent.parent.parent / "docs" / "operations.md").read_text()
    statements = re.search(r"```sql\n(CREATE ROLE .*?)```", guide, re.DOTALL)[1]
    return statements.replace("DATABASE testorchestrator ", f"DATABASE {database} ")


async def test_a_login_that_may_only_count_is_enough_for_the_exporter(postgres):
    async with new_database(postgres) as (database, admin):
        await admin.execute(grants_of_the_guide(database))
        try:
            await admin.execute(
                "INSERT INTO control.workspaces (slug, name, schema_name, state, schema_version) VALUES "
                "('one', 'One', 'w_one1', 'active', '0001'), ('two', 'Two', 'w_two2', 'suspended', '0000'), "
                "('three', 'Three', 'w_three', 'active', '0001')"
            )
            with exporting(postgres.dsn(user=MONITOR, database=database)) as port:
                found = "testorchestrator_workspaces"
                expect(port, 2, found, state="active", schema_version="0001")
                expect(port, 1, found, state="suspended", schema_version="0000")
                expect(port, 1, "testorchestrator_database_up")
                assert "one" not in {label for _, labels in samples(port) for _, label in labels}
            await admin.execute("DELETE FROM control.workspaces")
            await migrate(admin)
            assert (await look(admin)).findings == []
            await admin.execute(f"GRANT SELECT (slug) ON control.workspaces TO {MONITOR}")
            assert [one.what for one in (await look(admin)).findings] == [
                f"the role {MONITOR} has SELECT on the column slug of workspaces"
            ]
        finally:
            await admin.execute(f"DROP OWNED BY {MONITOR}; DROP ROLE {MONITOR}")


def test_the_exporter_asks_seldom_and_says_when_nobody_answers():
    asked = Workspaces("postgresql://nobody@127.0.0.1:1/x")
    first = {metric.name: metric for metric in asked.collect()}
    assert [sample.value for sample in first["testorchestrator_database_up"].samples] == [0]
    assert first["testorchestrator_workspaces"].samples == []


def test_counting_a_request_costs_little():
    """Not the time but the work: no label is looked up twice, and none is made that a client chooses."""
    metrics = Metrics(version="1", schema_version="1")
    for _ in range(100):
        metrics.observe(Entry(method="tools/call", tool="get_projects", status=200, authentication_seconds=0.001), 0.1)
    assert metrics._request.cache_info().misses == 1
    assert metrics._request.cache_info().hits == 99
