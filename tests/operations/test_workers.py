"""`serve --workers`: one port and several processes, of which any may die, and which all end together."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import signal
import socket
import threading
import time
from collections import Counter
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from service.settings import cores, read_settings
from tenancy.connection import connect
from tests.conftest import Client
from tests.operations.test_health import PATIENCE, get, process
from tests.operations.test_metrics import free_port, page, samples

CALLERS = 6
PING = b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}'


def children(pid):
    return {int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def runs(pid):
    """A process that was killed may stay as a zombie where nobody fetches it."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def wait_until(condition):
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until
        threading.Event().wait(0.02)


class Instance:
    """A service of several workers, and what it has logged so far."""

    def __init__(self, started):
        self.started = started
        self.events = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        wait_until(lambda: self.logged("serving") or started.poll() is not None)
        assert started.poll() is None, self.events
        self.port = self.logged("serving")[0]["port"]
        self.workers = children(started.pid)

    def _read(self):
        for line in self.started.stderr:
            self.events.append(json.loads(line) if line.startswith("{") else {"event": line.rstrip()})

    def logged(self, event):
        return [one for one in list(self.events) if one["event"] == event]

    def stop(self):
        self.started.send_signal(signal.SIGTERM)
        return self.ended()

    def ended(self):
        code = self.started.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return code


@contextmanager
def instance(service_url, workers="3", **environment):
    # Warnings: a fork beside threads is one.
    environment = {"PYTHONWARNINGS": "error", "TESTORCHESTRATOR_CALLS_PER_SECOND": "0"} | environment
    with process(service_url, "--workers", workers, **environment) as started:
        workers = set()
        try:
            made = Instance(started)
            workers = made.workers
            yield made
        finally:
            started.kill()
            started.wait()
            for pid in workers:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def ping(port, key):
    """The status of a call over a connection of its own."""
    client = Client("127.0.0.1", port, key)
    try:
        return client.post(PING)[0]
    finally:
        client.close()


def callers_of(service):
    return {event["worker"] for event in service.logged("call")}


@contextmanager
def calls(port, key, project):
    """Callers who write all the time, each over a connection of its own that it makes anew when it is closed."""
    answers, stop = [], threading.Event()

    def call():
        client = Client("127.0.0.1", port, key)
        while not stop.is_set():
            arguments = {"project": project, "name": secrets.token_hex(8)}
            message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
            message["params"] = {"name": "create_folder", "arguments": arguments}
            try:
                status, _, body = client.post(json.dumps(message).encode())
            except (OSError, http.client.HTTPException) as error:
                answers.append(type(error).__name__)
            else:
                is_done = status == 200 and not json.loads(body)["result"].get("isError")
                answers.append("done" if is_done else f"{status} {body[:200]!r}")
        client.close()

    callers = [threading.Thread(target=call) for _ in range(CALLERS)]
    for caller in callers:
        caller.start()
    try:
        yield answers
    finally:
        stop.set()
        for caller in callers:
            caller.join()


def test_a_worker_that_is_killed_takes_only_its_own_calls_along_and_is_back(world):
    lead = world.acme.people["lead"].key
    with instance(world.service_url) as service:
        assert len(service.workers) == 3
        assert service.logged("serving")[0]["workers"] == 3
        with calls(service.port, lead, world.acme.project) as answers:
            wait_until(lambda: len(answers) > 50)
            victim = min(service.workers)
            os.kill(victim, signal.SIGKILL)
            # Also those that the kernel gives to the one who is not there: they wait for the next.
            for _ in range(20):
                assert get(service.port, "/readyz") == (200, b'{"status":"ok"}')
            wait_until(lambda: len(children(service.started.pid) - {victim}) == 3)
            service.workers |= children(service.started.pid)
            count = len(answers)
            wait_until(lambda: len(answers) > count + 50)
        # At most one call of each caller was under way in it.
        broken = [answer for answer in answers if answer != "done"]
        assert len(broken) <= CALLERS
        # Before its answer, or in the middle of it: Hypercorn sends the head and the body one after the other.
        assert set(broken) <= {"RemoteDisconnected", "ConnectionResetError", "IncompleteRead"}
        assert [event["by"] for event in service.logged("process_died")] == ["signal SIGKILL"]
        # The kernel gives connections to all of them, the new one too.
        wait_until(lambda: ping(service.port, lead) == 200 and callers_of(service) == {0, 1, 2})
        assert service.stop() == 0
        requests = [event["request_id"] for event in service.logged("call")]
        assert len(set(requests)) == len(requests)


async def test_sigterm_lets_every_worker_finish_what_runs_and_leaves_nobody(world):
    with instance(world.service_url) as service:
        blocker = await connect(world.admin_url, name="the test server")
        clients = [Client("127.0.0.1", service.port, world.acme.people["lead"].key) for _ in range(12)]
        statuses = []
        async with blocker.transaction():
            await blocker.execute("LOCK TABLE control.api_keys IN ACCESS EXCLUSIVE MODE")
            callers = [threading.Thread(target=lambda one=one: statuses.append(one.post(PING)[0])) for one in clients]
            for caller in callers:
                caller.start()
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            while await blocker.fetchval(waiting) < len(clients):
                threading.Event().wait(0.02)
            service.started.send_signal(signal.SIGTERM)
            with pytest.raises(ConnectionRefusedError):
                while True:
                    # One that is being made as its listener closes is reset.
                    with suppress(ConnectionResetError):
                        socket.create_connection(("127.0.0.1", service.port), PATIENCE).close()
        for caller in callers:
            caller.join(PATIENCE)
        assert statuses == [200] * len(clients)
        assert service.ended() == 0
        await blocker.close()
        assert not [pid for pid in service.workers if runs(pid)]


def test_a_supervisor_that_is_killed_leaves_nobody(world):
    with instance(world.service_url, TESTORCHESTRATOR_METRICS_PORT=str(free_port())) as service:
        assert len(service.workers) == 4
        service.started.kill()
        wait_until(lambda: not [pid for pid in service.workers if runs(pid)])
        with pytest.raises(ConnectionRefusedError):
            get(service.port, "/healthz")


def test_a_worker_that_cannot_start_ends_the_service_with_one_clear_line(world):
    with instance(world.service_url) as service:
        while service.started.poll() is None:
            with suppress(OSError):
                for pid in children(service.started.pid):
                    service.workers.add(pid)
                    os.kill(pid, signal.SIGKILL)
            threading.Event().wait(0.01)
        assert service.ended() == 1
        assert not [pid for pid in service.workers if runs(pid)]
        pauses = [event["again_in_seconds"] for event in service.logged("process_died")]
        assert {0, 0.5} <= set(pauses)
        assert "times before it was ready, the last time with signal SIGKILL" in service.events[-1]["event"]


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["--workers", "many"], {}, "Setting TESTORCHESTRATOR_WORKERS: Give a number of processes, or auto."),
        (["--workers", "0"], {}, "Setting TESTORCHESTRATOR_WORKERS: Input should be greater than or equal to 1."),
        ([], {"TESTORCHESTRATOR_WORKERS": "3"}, "SERVICE_DATABASE_URL: no connection to the server"),
    ],
    ids=["no number", "none", "no database"],
)
def test_what_hinders_the_start_is_said_once(arguments, environment, said):
    with process("postgresql://x@127.0.0.1:1/x", *arguments, **environment) as refused:
        _, err = refused.communicate(timeout=PATIENCE)
    assert refused.returncode == 1
    assert len(err.splitlines()) == 1
    assert said in err


def test_ports_that_are_taken_are_found_by_a_second_service_with_workers(world):
    with instance(world.service_url, workers="2") as service:
        for arguments in ([], ["--workers", "2"]):
            with process(world.service_url, *arguments, "--port", str(service.port)) as second:
                _, err = second.communicate(timeout=PATIENCE)
            assert second.returncode == 1
            assert f"Port {service.port} is in use" in err


def test_one_page_of_metrics_tells_of_every_worker(world):
    port = free_port()
    with instance(world.service_url, TESTORCHESTRATOR_METRICS_PORT=str(port)) as service:
        assert {ping(service.port, world.acme.people["lead"].key) for _ in range(30)} == {200}

        def counted():
            return {
                dict(labels)["worker"]: value
                for (name, labels), value in samples(port).items()
                if name == "testorchestrator_requests_total"
            }

        wait_until(lambda: sum(counted().values()) == 30)
        found = samples(port)
        for name in ("testorchestrator_pool_size", "process_resident_memory_bytes", "testorchestrator_worker_up"):
            told = {dict(labels)["worker"]: value for (one, labels), value in found.items() if one == name}
            assert set(told) == {"0", "1", "2"}
            assert all(told.values())
        assert page(port)[1].count("# TYPE testorchestrator_requests_total counter") == 1


def test_guesses_are_counted_for_all_workers_together(world):
    with instance(world.service_url, TESTORCHESTRATOR_WRONG_KEYS_PER_MINUTE="6") as service:
        statuses = [ping(service.port, f"to_live_{number:043d}") for number in range(60)]
        # Two in each; while this runs, hardly one more comes free.
        assert 6 <= statuses.count(401) <= 8
        assert set(statuses) == {401, 429}


def test_a_burst_of_connections_is_not_for_one_worker_alone(world):
    key = world.acme.people["lead"].key
    with instance(world.service_url) as service, ExitStack() as stack:
        for _ in range(60):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", service.port), PATIENCE))
            connection.sendall(
                f"POST /mcp HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(PING)}\r\n\r\n{PING.decode()}".encode()
            )
        wait_until(lambda: len(service.logged("call")) == 60)
        counts = Counter(event["worker"] for event in service.logged("call"))
    # At random, as the kernel's hash of addresses is: fewer than five of sixty happen once in a million times.
    assert len(counts) == 3
    assert min(counts.values()) >= 5


def test_auto_is_as_many_workers_as_processors_may_be_used():
    all_of_them = os.sched_getaffinity(0)
    assert cores() <= len(all_of_them)
    os.sched_setaffinity(0, {min(all_of_them)})
    try:
        assert read_settings(SERVICE_DATABASE_URL="postgresql://x@127.0.0.1:1/x", workers="auto").workers == 1
    finally:
        os.sched_setaffinity(0, all_of_them)


def test_too_few_connections_of_the_server_are_told(world):
    with instance(world.service_url, workers="2", TESTORCHESTRATOR_POOL_SIZE="200") as service:
        [told] = service.logged("too_few_connections")
        assert told["wanted"] == 2 * (200 + 50 + 1)
        assert service.stop() == 0
