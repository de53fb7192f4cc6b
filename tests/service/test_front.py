"""The usual request is answered as Hypercorn would, every other one by Hypercorn, whatever comes on a connection.

FUZZ_CASES=1000 ./dev test tests/service/test_front.py compares them for longer, with other streams in every run.
"""

from __future__ import annotations

import asyncio
import email.utils
import os
import re
import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress

import pytest
import uvloop
from hypercorn.asyncio import serve
from hypercorn.config import Config
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.front import BODY_SECONDS, MAX_BODY_BYTES, serve_http

PATIENCE_SECONDS = 10
KEEP_ALIVE_SECONDS = 0.4
FUZZ = settings(
    max_examples=int(os.environ.get("FUZZ_CASES", "20")),
    derandomize="FUZZ_CASES" not in os.environ,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


class App:
    """Tells what it was asked, and by which of the two ways; what it shall do else is said in the header x-do."""

    def __init__(self) -> None:
        self.began, self.left = threading.Event(), threading.Event()
        self.outcomes: list[str] = []

    def by(self, way):
        async def app(scope, receive, send):
            if scope["type"] == "lifespan":
                await self._live(scope, receive, send)
            elif scope["type"] == "http":
                await self._answer(way, scope, receive, send)
            else:
                await receive()
                await send({"type": "websocket.close", "code": 1000})

        return app

    async def _live(self, scope, receive, send):
        for moment in ("startup", "shutdown"):
            assert (await receive())["type"] == f"lifespan.{moment}"
            scope["state"]["began"] = True
            await send({"type": f"lifespan.{moment}.complete"})

    async def _answer(self, way, scope, receive, send):
        body, more = b"", True
        while more:
            event = await receive()
            if event["type"] == "http.disconnect":
                return
            body += event["body"]
            more = event["more_body"]
        headers = list(scope["headers"])
        what, _, how = dict(headers).get(b"x-do", b"").decode("latin-1").partition(" ")
        self.began.set()
        try:
            await self._work(what, how, receive)
        except BaseException as error:
            self.outcomes.append(type(error).__name__)
            raise
        self.outcomes.append("finished")
        told = {name: scope[name] for name in scope if name not in {"headers", "client", "server"}}
        told["headers"], told["body"] = headers, body
        answer = repr(sorted(told.items())).encode() if what != "large" else b"x" * int(how)
        if what != "nothing":
            await self._send(send, answer, (what, how), way, scope["method"])
        if what == "after":
            assert (await receive())["type"] == "http.disconnect"
            self.left.set()

    async def _work(self, what, how, receive):
        if what == "sleep":
            await asyncio.sleep(float(how))
        elif what == "leave":
            assert (await receive())["type"] == "http.disconnect"
            self.left.set()
        elif what == "raise":
            raise RuntimeError
        elif what == "block":
            # What comes meanwhile is found by the loop so many of its turns before the answer.
            asyncio.get_running_loop().call_soon(time.sleep, 0.05)
            for _ in range(int(how)):
                await asyncio.sleep(0)

    async def _send(self, send, answer, do, way, method):
        what, how = do
        # What the two ways do not have in common is told in a header.
        headers = [(b"x-way", way.encode()), (b"content-type", b"text/plain")]
        more = {"close": (b"connection", b"close"), "split": (b"x-split", b"a\r\nb: c")}
        headers += [more[what]] if what in more else []
        headers += [(b"x-head", b"1")] if method == "HEAD" else []
        if what not in {"chunks", "stream"}:
            headers.append((b"content-length", b"%d" % (len(answer) + (what == "short") - (what == "long"))))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if what == "stream":
            for _ in range(30):
                await send({"type": "http.response.body", "body": b"x" * 1_000_000, "more_body": True})
                self.outcomes.append("sent")
        if what in {"parts", "stops"}:
            await send({"type": "http.response.body", "body": answer[:10], "more_body": True})
            if what == "stops":
                raise RuntimeError
            await asyncio.sleep(float(how or 0.01))
            answer = answer[10:]
        await send({"type": "http.response.body", "body": answer, "more_body": False})


@contextmanager
def served(*, app=None, front=True, loop="uvloop", fast_path="/mcp", listening=None, **options):
    """Where the app is served, by the front or by Hypercorn alone."""
    app = app or App()
    listening = listening or socket.create_server(("127.0.0.1", 0))
    address = listening.getsockname()
    config = Config()
    config.errorlog = None
    config.include_server_header = False
    config.keep_alive_timeout = 30
    for name, value in options.items():
        setattr(config, name, value)
    running = LOOPS[loop]()
    stop = asyncio.Event()
    if front:
        serving = serve_http(
            app.by("hypercorn"), config, listening, fast=app.by("fast"), path=fast_path, shutdown_trigger=stop.wait
        )
    else:
        config.bind = [f"fd://{listening.detach()}"]
        serving = serve(app.by("hypercorn"), config, shutdown_trigger=stop.wait)
    thread = threading.Thread(target=running.run_until_complete, args=[serving])
    thread.start()
    try:
        yield address
    finally:
        running.call_soon_threadsafe(stop.set)
        thread.join(PATIENCE_SECONDS)
        running.close()


class Peer:
    """A client that sends and reads what it is told to."""

    def __init__(self, address) -> None:
        self._socket = socket.create_connection(address, timeout=PATIENCE_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.address = self._socket.getsockname()
        self._come = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()

    def send(self, *parts, pause=0.002):
        for number, part in enumerate(parts):
            if number:
                time.sleep(pause)
            self._socket.sendall(part)

    def half_close(self):
        self._socket.shutdown(socket.SHUT_WR)

    def reset(self):
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def set_timeout(self, seconds):
        self._socket.settimeout(seconds)

    def answer(self, *, dated=False):
        """The next answer: its status, headers and body."""
        while (found := parse(self._come, dated=dated)) is None:
            part = self._socket.recv(65536)
            assert part, f"closed after {self._come!r}"
            self._come += part
        answer, self._come = found
        return answer

    def ask(self, *parts):
        self.send(*parts)
        return self.answer()

    def is_closed(self):
        """Wait for the end of the connection; whether nothing came before it."""
        try:
            return self._come == b"" == self._socket.recv(1)
        except ConnectionResetError:
            return self._come == b""

    def everything(self):
        """All that comes until the server closes; a client that it waits for ends, too, and then tells so."""
        parts, half_closed = [self._come], False
        while True:
            try:
                parts.append(self._socket.recv(65536))
            except TimeoutError:
                assert not half_closed
                half_closed = True
                self.half_close()
                continue
            except ConnectionResetError:
                parts.append(b"")
            if not parts[-1]:
                return b"".join(parts), half_closed


def parse(data, *, dated=False):
    """The first answer of *data* and the rest, or None where it is not whole yet."""
    head, separator, rest = data.partition(b"\r\n\r\n")
    if not separator:
        return None
    status, *lines = head.split(b"\r\n")
    headers = sorted((name.lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines))
    known = dict(headers)
    assert known[b"date"]
    assert len(known) == len(headers)
    if not dated:
        del known[b"date"]
    code = int(status.split(b" ")[1])
    if code == 100 or b"x-head" in known:
        size, body = 0, b""
    elif known.get(b"transfer-encoding") == b"chunked":
        whole, end, rest = rest.partition(b"0\r\n\r\n")
        if not end:
            return None
        body = re.sub(rb"(?:^|\r\n)[0-9a-f]+\r\n", b"", whole)
        size = 0
    else:
        size = int(known[b"content-length"])
        if len(rest) < size:
            return None
        body = rest[:size]
    return (code, known, body), rest[size:]


def parse_all(data):
    """The answers of *data*, without what tells the two ways apart, and what is no answer."""
    answers = []
    while data and (found := parse(data)) is not None:
        (status, headers, body), data = found
        answers.append((status, {name: value for name, value in headers.items() if name != b"x-way"}, body))
    return answers, data


def request(body=b"{}", *, line=b"POST /mcp HTTP/1.1", headers=(b"Host: a",), length=None, do=None):
    """A usual request, but for what is said."""
    lines = [line, *headers]
    if length is not False:
        lines.append(b"Content-Length: %b" % (b"%d" % len(body) if length is None else length))
    if do is not None:
        lines.append(b"x-do: " + do.encode())
    return b"\r\n".join([*lines, b"", body])


PAGE = b"GET /page?a=b%20c HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
CHUNKED = b"POST /mcp HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
HANDSHAKE = (
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)

#: Each is answered by the front.
USUAL = {
    "small": request(),
    "no body": request(b""),
    "keep-alive": request(headers=[b"Host: a", b"Connection: Keep-Alive"]),
    "spaces around a value": request(headers=[b"Host:a", b"X:  b \t c \t", b"Y:", b"Z: "]),
    "bytes beyond ASCII": request(headers=[b"Host: a", b"X: \x80\xff"]),
    "a header twice": request(headers=[b"Host: a", b"X: 1", b"x: 2"]),
    "an empty Host": request(headers=[b"Host:"]),
    "as large as may be": request(b"x" * MAX_BODY_BYTES),
    "zeros before the length": request(length=b"0002"),
    "an answer in parts": request(do="parts"),
    "an answer that ends the connection": request(do="close"),
    "a fault": request(do="raise"),
    "no answer": request(do="nothing"),
    "a header of two lines": request(do="split"),
}
#: Each is Hypercorn's.
UNUSUAL = {
    "page": PAGE,
    "HEAD": b"HEAD /page HTTP/1.1\r\nHost: a\r\n\r\n",
    "HTTP/1.0": request(line=b"POST /mcp HTTP/1.0"),
    "HTTP/1.0 without Host": request(line=b"POST /mcp HTTP/1.0", headers=[]),
    "chunked": CHUNKED,
    "both lengths": request(headers=[b"Host: a", b"Transfer-Encoding: chunked"]),
    "another coding": request(headers=[b"Host: a", b"Transfer-Encoding: gzip"], length=False),
    "no length": request(b"", length=False),
    "two equal lengths": request(headers=[b"Host: a", b"Content-Length: 2"]),
    "two lengths": request(headers=[b"Host: a", b"Content-Length: 1"]),
    "a list of lengths": request(length=b"2, 2"),
    "a length with a sign": request(length=b"+2"),
    "a length below zero": request(length=b"-2"),
    "a length that is none": request(length=b"two"),
    "an empty length": request(length=b""),
    "a huge length": request(length=b"9" * 30),
    "no Host": request(headers=[]),
    "two Hosts": request(headers=[b"Host: a", b"Host: a"]),
    "a folded header": request(headers=[b"Host: a", b"X: 1", b" 2"]),
    "a folded first header": request(headers=[b" X: 1", b"Host: a"]),
    "bare line feeds": request().replace(b"\r\n", b"\n"),
    "a bare line feed": request(headers=[b"Host: a\nX: 1"]),
    "a blank line of line feeds": request(b"").replace(b"\r\n\r\n", b"\n\n"),
    "a bare carriage return": request(headers=[b"Host: a\rX: 1"]),
    "a space before the colon": request(headers=[b"Host : a"]),
    "no colon": request(headers=[b"Host: a", b"X"]),
    "a control character": request(headers=[b"Host: a", b"X: \x01"]),
    "a null": request(headers=[b"Host: a", b"X: \x00"]),
    "expects": request(headers=[b"Host: a", b"Expect: 100-continue"]),
    "closes": request(headers=[b"Host: a", b"Connection: close"]),
    "a list of options": request(headers=[b"Host: a", b"Connection: keep-alive, x"]),
    "an upgrade to h2c": request(headers=[b"Host: a", b"Connection: Upgrade", b"Upgrade: h2c"]),
    "an upgrade to what there is not": request(headers=[b"Host: a", b"Upgrade: x"]),
    "absolute form": request(line=b"POST http://a/mcp HTTP/1.1"),
    "query": request(line=b"POST /mcp?a=b HTTP/1.1"),
    "encoded path": request(line=b"POST /%6Dcp HTTP/1.1"),
    "another path": request(line=b"POST /mcp/ HTTP/1.1"),
    "lower-case method": request(line=b"post /mcp HTTP/1.1"),
    "another method": request(line=b"PUT /mcp HTTP/1.1"),
    "two spaces": request(line=b"POST  /mcp HTTP/1.1"),
    "HTTP/1.2": request(line=b"POST /mcp HTTP/1.2"),
    "HTTP/2.0": request(line=b"POST /mcp HTTP/2.0"),
    "an empty line before": b"\r\n" + request(),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(50),
    "too large": request(b"x" * (MAX_BODY_BYTES + 1)),
    "a large head": request(headers=[b"Host: a", b"X: " + b"x" * 20_000]),
    "a huge head": request(headers=[b"Host: a", b"X: " + b"x" * 70_000]),
    "websocket": b"GET /page HTTP/1.1\r\nHost: a\r\n" + HANDSHAKE,
    "websocket by POST": b"POST /mcp HTTP/1.1\r\nHost: a\r\n" + HANDSHAKE,
}
EACH = {**USUAL, **UNUSUAL}


@pytest.fixture(scope="module", params=LOOPS)
def both(request):
    """The app served by Hypercorn, and by the front."""
    options = {"keep_alive_timeout": KEEP_ALIVE_SECONDS}
    with served(front=False, loop="asyncio", **options) as hypercorn, served(loop=request.param, **options) as front:
        yield hypercorn, front


def outcome(address, parts):
    """What comes of sending *parts* one after the other: answers, what is no answer, and who ended the connection."""
    with Peer(address) as peer:
        peer.set_timeout(3 * KEEP_ALIVE_SECONDS)
        # The server may have said all that it will.
        with suppress(BrokenPipeError, ConnectionResetError):
            peer.send(*parts)
        data, half_closed = peer.everything()
    return *parse_all(data), half_closed


def assert_same(both, parts):
    with ThreadPoolExecutor(2) as pool:
        expected, found = pool.map(outcome, both, [parts] * 2)
    assert found == expected


@pytest.mark.parametrize("name", EACH)
def test_each_request_is_answered_as_by_hypercorn_alone(both, name):
    assert_same(both, [EACH[name]])
    assert_same(both, [EACH[name] + request() + LAST])


@pytest.mark.parametrize("name", EACH)
def test_the_front_takes_what_is_usual_and_nothing_else(both, name):
    with Peer(both[1]) as peer:
        with suppress(BrokenPipeError, ConnectionResetError):
            peer.send(EACH[name])
        peer.set_timeout(3 * KEEP_ALIVE_SECONDS)
        data, _ = peer.everything()
    if b"x-way" in data:
        assert (b"x-way: fast" in data) == (name in USUAL)
    else:
        assert name not in USUAL or b"HTTP/1.1 500 " in data


INTERESTING = [
    b"\r",
    b"\n",
    b"\r\n",
    b" ",
    b"\t",
    b"\x00",
    b"\x0b",
    b"\x7f",
    b"\x80",
    b":",
    b",",
    b";",
    b"(",
    b'"',
    b"A",
    b"0",
    b"/",
]


@st.composite
def mutated(draw):
    """A usual request with something else at some places of its head."""
    head, _, body = request(headers=[b"Host: a", b"X: 1, 2", b"Connection: keep-alive"]).partition(b"\r\n\r\n")
    for _ in range(draw(st.integers(1, 2))):
        at = draw(st.integers(0, len(head)))
        head = head[:at] + draw(st.sampled_from([b"", *INTERESTING])) + head[at + draw(st.integers(0, 1)) :]
    return head + b"\r\n\r\n" + body


@st.composite
def streams(draw):
    """Requests one after the other, in parts."""
    usual = st.sampled_from([data for name, data in USUAL.items() if len(data) < 1000])
    unusual = st.sampled_from([data for name, data in UNUSUAL.items() if len(data) < 1000])
    data = b"".join(draw(st.lists(st.one_of(usual, usual, unusual, mutated()), min_size=1, max_size=4)))
    data += draw(st.sampled_from([b"", LAST, LAST, LAST]))
    data = data[: len(data) - draw(st.sampled_from([0, 0, 0, 1, 5, 70]))]
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=4)))
    return [part for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True) if (part := data[a:b])]


@FUZZ
@given(parts=streams())
def test_whatever_comes_is_answered_as_by_hypercorn_alone(both, parts):
    assert_same(both, parts)


@FUZZ
@given(data=mutated())
def test_heads_are_read_as_by_hypercorn(both, data):
    assert_same(both, [data + LAST])


@pytest.fixture(scope="module", params=LOOPS)
def front(request):
    """Where the app is served by the front."""
    with served(loop=request.param) as address:
        yield address


@pytest.fixture
def peer(front):
    with Peer(front) as one:
        yield one


def way(answer):
    status, headers, _ = answer
    assert status == 200
    return headers[b"x-way"].decode()


def test_a_request_may_come_in_two_parts(front):
    data = request(b"{} {}")
    for cut in range(1, len(data)):
        with Peer(front) as peer:
            peer.send(data[:cut], data[cut:])
            assert way(peer.answer()) == "fast"


def test_a_request_may_come_byte_by_byte(peer):
    data = request()
    peer.send(*(data[at : at + 1] for at in range(len(data))), pause=0)
    assert way(peer.answer()) == "fast"
    shorter = request(headers=[b"Host:"])
    assert way(peer.ask(shorter)) == "fast"


def test_pipelined_requests_are_answered_in_their_order(peer):
    bodies = [b"%d" % number for number in range(200)]
    peer.send(b"".join(request(body, do=f"sleep {0.01 * (body == b'1')}") for body in bodies))
    answers = [peer.answer() for _ in bodies]
    assert {way(answer) for answer in answers} == {"fast"}
    assert [re.search(rb"'body', b'(\d+)'", answer[2])[1] for answer in answers] == bodies


def test_calls_between_pages_are_answered_by_the_front(peer):
    for _ in range(50):
        assert way(peer.ask(PAGE)) == "hypercorn"
        assert way(peer.ask(request())) == "fast"


@pytest.mark.parametrize(
    "lent", [PAGE, CHUNKED, request(b"x" * (MAX_BODY_BYTES + 1)), request(line=b"PUT /mcp HTTP/1.1")]
)
def test_a_connection_comes_back_after_whatever_was_lent(peer, lent):
    assert way(peer.ask(lent)) == "hypercorn"
    assert way(peer.ask(request())) == "fast"


def test_a_call_that_came_with_a_page_is_answered_by_hypercorn_and_the_next_one_by_the_front(peer):
    peer.send(PAGE + request())
    assert [way(peer.answer()), way(peer.answer())] == ["hypercorn", "hypercorn"]
    assert way(peer.ask(request())) == "fast"


def test_a_call_that_comes_while_a_page_is_made_is_not_lost(peer):
    peer.send(PAGE.replace(b"\r\n\r\n", b"\r\nx-do: sleep 0.1\r\n\r\n"), request(), pause=0.03)
    assert [way(peer.answer()), way(peer.answer())] == ["hypercorn", "hypercorn"]
    assert way(peer.ask(request())) == "fast"


@pytest.mark.parametrize("turns", range(8))
@pytest.mark.parametrize("what", ["call", "end"])
def test_what_comes_just_as_a_page_is_answered_is_not_lost(peer, turns, what):
    peer.send(PAGE.replace(b"\r\n\r\n", b"\r\nx-do: block %d\r\n\r\n" % turns))
    time.sleep(0.02)
    if what == "call":
        peer.send(request())
        assert way(peer.answer()) == "hypercorn"
        assert way(peer.answer())
    else:
        peer.half_close()
        assert way(peer.answer()) == "hypercorn"
        peer.set_timeout(1)
        assert peer.is_closed()


def test_a_body_that_comes_later_is_the_front_s_for_a_second(peer):
    data = request(b"1234567")
    for _ in range(3):
        peer.send(data[:-3], data[-3:], pause=BODY_SECONDS * 0.5)
        assert way(peer.answer()) == "fast"
    peer.send(data[:-3], data[-3:], pause=BODY_SECONDS * 1.2)
    assert way(peer.answer()) == "hypercorn"
    assert way(peer.ask(request())) == "fast"


def test_a_body_that_drips_is_hypercorn_s_after_a_second(peer):
    data = request(b"1234567")
    peer.send(data[:-7], *(data[-at : len(data) - at + 1] for at in range(7, 0, -1)), pause=BODY_SECONDS * 0.3)
    assert way(peer.answer()) == "hypercorn"


def test_a_slow_head_leaves_no_time_for_the_body(peer):
    data = request()
    peer.send(data[:30], data[30:-1], data[-1:], pause=BODY_SECONDS * 1.2)
    assert way(peer.answer()) == "hypercorn"


@pytest.mark.parametrize("where", ["head", "body"])
def test_a_client_that_ends_in_the_middle_is_told_what_hypercorn_tells(both, where):
    data = request(b"1234567")
    assert_same(both, [data[: 30 if where == "head" else -3]])
    with Peer(both[1]) as peer:
        peer.send(data[: 30 if where == "head" else -3])
        peer.half_close()
        began = time.monotonic()
        assert peer.answer()[0] == 400
        assert peer.is_closed()
        assert time.monotonic() - began < PATIENCE_SECONDS / 2


def test_a_head_without_end_is_refused_by_hypercorn(peer):
    peer.send(request()[:-6], b"\r\nX: " + b"x" * 20_000)
    assert peer.answer()[0] == 431
    assert peer.is_closed()


@pytest.fixture
def app():
    return App()


@pytest.fixture(params=LOOPS)
def serving(request, app):
    """Serve this test's app, by the front."""
    return lambda **options: served(app=app, loop=request.param, **options)


@pytest.mark.parametrize("line", [b"POST /mcp HTTP/1.1", b"PUT /mcp HTTP/1.1"], ids=["fast", "lent"])
@pytest.mark.parametrize("resets", [False, True])
def test_the_application_learns_that_the_client_is_gone_and_goes_on(serving, app, line, resets):
    with serving() as address:
        with Peer(address) as peer:
            peer.send(request(line=line, do="leave"))
            assert app.began.wait(PATIENCE_SECONDS)
            assert not app.left.wait(0.1)
            if resets:
                peer.reset()
        assert app.left.wait(PATIENCE_SECONDS)
    assert app.outcomes == ["finished"]


def test_a_client_that_sends_no_more_gets_its_answer_and_then_the_end(serving):
    with serving() as address, Peer(address) as peer:
        peer.send(request(do="leave"))
        peer.half_close()
        assert way(peer.answer()) == "fast"
        assert peer.is_closed()


def test_all_that_was_sent_before_the_end_is_answered(serving):
    with serving() as address, Peer(address) as peer:
        peer.send(request(do="sleep 0.1") + request() + PAGE)
        peer.half_close()
        assert [way(peer.answer()) for _ in range(3)] == ["fast", "fast", "hypercorn"]
        assert peer.is_closed()


@pytest.mark.parametrize("end", [len(request()) // 2, -1], ids=["head", "body"])
def test_half_of_a_request_behind_another_one_is_refused_by_hypercorn(serving, end, monkeypatch):
    """Who has ended is not waited for."""
    monkeypatch.setattr("service.front.BODY_SECONDS", 60)
    with serving() as address, Peer(address) as peer:
        peer.send(request(do="sleep 0.1") + request()[:end])
        peer.half_close()
        assert way(peer.answer()) == "fast"
        assert peer.answer()[0] == 400
        assert peer.is_closed()


def test_an_idle_client_that_ends_is_let_go_at_once(serving):
    with serving() as address, Peer(address) as peer, Peer(address) as paging:
        assert way(peer.ask(request())) == "fast"
        assert way(paging.ask(PAGE)) == "hypercorn"
        for one in (peer, paging):
            one.half_close()
            one.set_timeout(1)
            assert one.is_closed()


def test_the_application_is_told_that_its_answer_was_the_end(serving, app):
    with serving() as address, Peer(address) as peer:
        assert way(peer.ask(request(do="after"))) == "fast"
        assert app.left.wait(PATIENCE_SECONDS)
        assert way(peer.ask(request())) == "fast"


@pytest.mark.parametrize(
    ("do", "status"), [("raise", 500), ("nothing", 500), ("split", 500), ("long", 500), ("close", 200)]
)
def test_an_answer_that_ends_the_connection_says_so(peer, do, status):
    code, headers, _ = peer.ask(request(do=do))
    assert (code, headers[b"connection"]) == (status, b"close")
    assert peer.is_closed()


@pytest.mark.parametrize("do", ["short", "stops"])
def test_an_answer_that_is_not_whole_ends_with_the_connection(peer, do):
    peer.send(request(do=do) + request())
    data, half_closed = peer.everything()
    assert data.startswith(b"HTTP/1.1 200 ")
    assert data.count(b"HTTP/1.1") == 1
    assert parse(data) is None
    assert not half_closed


def test_an_answer_of_untold_length_ends_with_the_connection(peer):
    peer.send(request(do="chunks"))
    data, half_closed = peer.everything()
    assert b"\r\nconnection: close\r\n" in data.partition(b"\r\n\r\n")[0]
    assert not half_closed


def test_a_connection_ends_after_so_many_requests_of_either_way(serving):
    with serving(keep_alive_max_requests=5) as address, Peer(address) as peer:
        for data in (request(), PAGE, request(), PAGE):
            assert b"connection" not in peer.ask(data)[1]
        assert peer.ask(request())[1][b"connection"] == b"close"
        assert peer.is_closed()
        with Peer(address) as other:
            for data in (request(), PAGE, request(), request()):
                assert b"connection" not in other.ask(data)[1]
            assert other.ask(PAGE)[1][b"connection"] == b"close"
            assert other.is_closed()


@pytest.mark.parametrize(
    "before", [b"", b"POST", request()[:30], PAGE[:10]], ids=["nothing", "a word", "a call", "a page"]
)
def test_who_sends_no_head_in_time_is_closed(serving, before):
    with serving(keep_alive_timeout=KEEP_ALIVE_SECONDS) as address, Peer(address) as peer:
        began = time.monotonic()
        peer.send(before)
        assert peer.is_closed()
        assert time.monotonic() - began > KEEP_ALIVE_SECONDS * 0.9


def test_a_head_that_drips_is_closed_in_time(serving):
    dripping = (bytes([byte]) for byte in request())
    closed = pytest.raises((BrokenPipeError, ConnectionResetError))
    with serving(keep_alive_timeout=KEEP_ALIVE_SECONDS) as address, Peer(address) as peer, closed:
        peer.send(*dripping, pause=KEEP_ALIVE_SECONDS / 5)


@pytest.mark.parametrize("data", [request(), PAGE], ids=["call", "page"])
def test_who_sends_nothing_more_is_closed_in_time(serving, data):
    with serving(keep_alive_timeout=KEEP_ALIVE_SECONDS) as address, Peer(address) as peer:
        for _ in range(3):
            assert way(peer.ask(data))
            time.sleep(KEEP_ALIVE_SECONDS * 0.7)
        assert peer.is_closed()


def test_a_request_may_take_longer_than_a_connection_may_be_idle(serving):
    with serving(keep_alive_timeout=KEEP_ALIVE_SECONDS) as address, Peer(address) as peer:
        assert way(peer.ask(request(do=f"sleep {3 * KEEP_ALIVE_SECONDS}"))) == "fast"
        data = request()
        peer.send(data[:-1], data[-1:], pause=2 * KEEP_ALIVE_SECONDS)
        assert way(peer.answer()) == "fast"


def test_stopping_closes_what_is_idle_and_lets_what_runs_end(serving, app):
    with ExitStack() as stack:
        with serving(graceful_timeout=PATIENCE_SECONDS) as address:
            opened = [stack.enter_context(Peer(address)) for _ in range(5)]
            new, called, paged, calls, pages = opened
            called.ask(request())
            paged.ask(PAGE)
            app.began.clear()
            calls.send(request(do="sleep 0.5") + request())
            assert app.began.wait(PATIENCE_SECONDS)
            app.began.clear()
            pages.send(PAGE.replace(b"\r\n\r\n", b"\r\nx-do: sleep 0.5\r\n\r\n"))
            assert app.began.wait(PATIENCE_SECONDS)
            began = time.monotonic()
        assert time.monotonic() - began < PATIENCE_SECONDS / 2
        assert all(peer.is_closed() for peer in (new, called, paged))
        status, headers, _ = calls.answer()
        assert (status, headers[b"x-way"], headers[b"connection"]) == (200, b"fast", b"close")
        assert way(pages.answer()) == "hypercorn"
        assert calls.is_closed()
        assert pages.is_closed()


def test_stopping_closes_after_an_answer_that_has_begun(serving, app):
    with ExitStack() as stack:
        with serving(graceful_timeout=PATIENCE_SECONDS) as address:
            peer = stack.enter_context(Peer(address))
            peer.send(request(do="parts 0.5"))
            assert app.began.wait(PATIENCE_SECONDS)
            time.sleep(0.1)
            began = time.monotonic()
        assert time.monotonic() - began < PATIENCE_SECONDS / 2
        assert way(peer.answer()) == "fast"
        assert peer.is_closed()


def test_stopping_closes_what_is_idle_at_once(serving, app):
    with ExitStack() as stack, serving(graceful_timeout=PATIENCE_SECONDS) as address:
        idle, calls = (stack.enter_context(Peer(address)) for _ in range(2))
        idle.ask(request())
        app.began.clear()
        calls.send(request(do="sleep 4"))
        assert app.began.wait(PATIENCE_SECONDS)

        def look():
            began = time.monotonic()
            closed.append(idle.is_closed())
            closed.append(time.monotonic() - began < 3)

        closed: list[bool] = []
        looking = threading.Thread(target=look)
        stack.callback(lambda: (looking.join(PATIENCE_SECONDS), closed.append("joined")))
        looking.start()
    assert closed == [True, True, "joined"]


def test_stopping_leaves_a_body_the_time_to_come(serving):
    with ExitStack() as stack:
        with serving(graceful_timeout=PATIENCE_SECONDS) as address:
            peer = stack.enter_context(Peer(address))
            data = request()
            peer.send(data[:-1])
            time.sleep(0.1)
            rest = threading.Timer(0.5, peer.send, args=[data[-1:]])
            rest.start()
        rest.join()
        assert way(peer.answer()) == "hypercorn"
        assert peer.is_closed()


@pytest.mark.parametrize(
    "data", [request(do="sleep 60"), CHUNKED.replace(b"\r\n\r\n", b"\r\nx-do: sleep 60\r\n\r\n", 1)]
)
def test_what_outlasts_the_time_to_stop_is_cancelled(serving, app, data):
    with ExitStack() as stack:
        with serving(graceful_timeout=0.2) as address:
            peer = stack.enter_context(Peer(address))
            peer.send(data)
            assert app.began.wait(PATIENCE_SECONDS)
            began = time.monotonic()
        assert time.monotonic() - began < PATIENCE_SECONDS / 2
        assert app.outcomes == ["CancelledError"]
        assert peer.answer()[0] == 500
        assert peer.is_closed()


def test_a_client_that_does_not_read_is_not_read_either(serving, app):
    with serving(graceful_timeout=0.2) as address, Peer(address) as peer:
        peer.set_timeout(1)
        data = request(b"x" * 1000, do="large 100000")
        sent = 0
        with suppress(TimeoutError):
            while sent < 100_000_000:
                peer.send(data * 100)
                sent += len(data) * 100
        assert sent < 30_000_000
        answered = len(app.outcomes)
        time.sleep(0.2)
        assert len(app.outcomes) == answered < 1000
        for _ in range(answered + 10):
            assert peer.answer()[0] == 200


def test_a_client_that_does_not_read_its_answers_gets_no_more_of_them(serving, app):
    with serving(graceful_timeout=0.2) as address, Peer(address) as peer:
        for _ in range(100):
            peer.send(request(do="large 1000000"))
            time.sleep(0.005)
        assert len(app.outcomes) < 30


def test_an_answer_is_not_made_faster_than_it_is_read(serving, app):
    with serving(graceful_timeout=0.2) as address, Peer(address) as peer:
        peer.send(request(do="stream"))
        assert app.began.wait(PATIENCE_SECONDS)
        time.sleep(0.5)
        assert app.outcomes.count("sent") < 20
        data, half_closed = peer.everything()
        assert data.count(b"x" * 1_000_000) == 30
        assert not half_closed


def test_what_a_client_sends_while_its_request_runs_is_kept_up_to_a_bound(serving, app):
    with serving() as address, Peer(address) as peer:
        peer.send(request(do="sleep 2"))
        assert app.began.wait(PATIENCE_SECONDS)
        peer.set_timeout(0.5)
        data = request(b"x" * 10_000)
        sent = 0
        with suppress(TimeoutError):
            while sent < 100_000_000:
                peer.send(data)
                sent += len(data)
        assert sent < 30_000_000
        peer.set_timeout(PATIENCE_SECONDS)
        for _ in range(sent // len(data)):
            assert peer.answer()[0] == 200


def test_more_is_read_of_a_client_whose_many_pages_had_to_wait(serving, app):
    with serving() as address, Peer(address) as peer:
        peer.send(request(do="sleep 0.3"))
        assert app.began.wait(PATIENCE_SECONDS)
        page = PAGE.replace(b"\r\n\r\n", b"\r\nX: %b\r\n\r\n" % (b"x" * 4000))
        peer.send(*[page] * 25)
        assert way(peer.answer()) == "fast"
        assert {way(peer.answer()) for _ in range(25)} == {"hypercorn"}
        assert way(peer.ask(request())) == "fast"


def test_more_is_read_of_a_large_request_that_had_to_wait(serving, app):
    with serving() as address, Peer(address) as peer:
        data = request(b"x" * MAX_BODY_BYTES, headers=[b"Host: a", b"X: " + b"x" * 10_000])
        peer.send(request(do="sleep 0.3"))
        assert app.began.wait(PATIENCE_SECONDS)
        peer.send(data[:35_000], data[35_000:70_000], data[70_000:], pause=0.05)
        assert [way(peer.answer()), way(peer.answer())] == ["fast", "fast"]


def test_stopping_waits_for_who_reads_an_answer_slowly(serving, app):
    with ExitStack() as stack:
        with serving(graceful_timeout=PATIENCE_SECONDS) as address:
            peer = stack.enter_context(Peer(address))
            peer.send(request(do="large 20000000"))
            assert app.began.wait(PATIENCE_SECONDS)
            time.sleep(0.1)
            answers: list[tuple[bytes, bool]] = []
            reading = threading.Timer(0.3, lambda: answers.append(peer.everything()))
            reading.start()
        reading.join()
        [(data, half_closed)] = answers
        assert len(data) > 20_000_000
        assert not half_closed


def test_answers_are_sent_at_once(serving):
    """Without TCP_NODELAY, which connections inherit, the second part of an answer waits for an acknowledgement."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        with serving(listening=listening.dup()) as address, Peer(address) as peer:
            peer.ask(request(do="parts"))
        assert listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_http_2_is_hypercorn_s(both):
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
    answers = []
    for address in both:
        with Peer(address) as peer:
            peer.set_timeout(0.5)
            peer.send(preface)
            answers.append(peer.everything())
    assert answers[0] == answers[1]
    assert answers[0][0][3:4] == b"\x04"


def test_the_application_is_told_who_asks():
    seen = []

    class Seen(App):
        async def _answer(self, way, scope, receive, send):
            seen.append((scope["client"], scope["server"]))
            await super()._answer(way, scope, receive, send)

    with served(app=Seen()) as address, Peer(address) as peer:
        peer.ask(request())
        peer.ask(PAGE)
        assert seen == [(peer.address, address)] * 2


def test_the_date_is_that_of_now(peer):
    for _ in range(3):
        peer.send(request())
        dated = email.utils.parsedate_to_datetime(peer.answer(dated=True)[1][b"date"].decode())
        assert -1 < time.time() - dated.timestamp() < 1.5
        time.sleep(1.1)
