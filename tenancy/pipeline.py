"""Statements that nobody waits for: they go out with what the driver sends next, and cost no round trip.

asyncpg waits for the answer to each message before it sends another. What begins a transaction needs no answer of its
own, since without it the next statement fails; what ends one that has only read needs none either.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

import asyncpg

from tenancy.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

# Kinds of messages from the server, the length of their head, and what is in the last one of each answer where no
# transaction is open.
_ERROR, _READY = b"EZ"
_HEAD = 5
_IDLE = b"I"


class Pipeline(asyncio.Protocol):
    """Stands between a connection and its driver, and keeps from that the answers to what was sent here."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._transport: asyncio.Transport = connection._transport  # noqa: SLF001 - there is no other way to it
        self._driver: asyncio.Protocol = self._transport.get_protocol()
        self._transport.set_protocol(self)
        # Of each answer that is still to come, whether no transaction may be open after it.
        self._awaited: deque[bool] = deque()
        self._rest = b""
        #: The first error in the answers to what was sent since the last beginning, as soon as it has come.
        self.failure: asyncpg.PostgresError | None = None
        #: Whether the transaction was ended here, and the driver has sent nothing since.
        self.ends = False
        #: Is told what is sent.
        self.listener: Callable[[str], object] | None = None

    @property
    def is_answered(self) -> bool:
        """Whether nothing that was sent is without an answer."""
        return not self._awaited

    def begin(self, statements: str) -> None:
        """Send *statements*, which begin a transaction, as send() does."""
        self.failure = None
        self.send(statements)

    def end(self, statements: str) -> None:
        """Send *statements*, which end the transaction, as send() does; the connection is given up if they do not."""
        self.send(statements, ends=True)

    def send(self, statements: str, *, ends: bool = False) -> None:
        """Send *statements* in one message, while the driver waits for nothing. The driver's next one comes after it.

        Raises DatabaseUnavailable where the connection is gone.
        """
        if self._transport.is_closing():
            raise DatabaseUnavailable("the connection is closed")
        if self.listener is not None:
            self.listener(statements)
        text = statements.encode()
        self.ends = ends
        self._awaited.append(ends)
        self._transport.write(b"Q%b%b\0" % ((len(text) + _HEAD).to_bytes(4, "big"), text))

    def raise_failure(self) -> None:
        """Raise the failure, if there is one."""
        if self.failure is not None:
            raise self.failure

    def data_received(self, data: bytes) -> None:
        """Read the answers that are ours, and pass on what follows them."""
        if not self._awaited:
            self._pass_on(data)
            return
        data, self._rest = self._rest + data, b""
        at, size = 0, len(data)
        while self._awaited:
            end = at + 1 + int.from_bytes(data[at + 1 : at + _HEAD], "big")
            if size - at < _HEAD or end > size:
                self._rest = data[at:]
                return
            if data[at] == _ERROR:
                self.failure = self.failure or _read_error(data[at + _HEAD : end])
            elif data[at] == _READY and self._awaited.popleft() and data[end - 1 : end] != _IDLE:
                self._transport.abort()
            at = end
        if at < size:
            self._pass_on(data[at:])

    def _pass_on(self, data: bytes) -> None:
        self.ends = False
        self._driver.data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the driver."""
        self._driver.connection_lost(exc)

    def eof_received(self) -> bool | None:
        """Tell the driver."""
        return self._driver.eof_received()

    def pause_writing(self) -> None:
        """Tell the driver."""
        self._driver.pause_writing()

    def resume_writing(self) -> None:
        """Tell the driver."""
        self._driver.resume_writing()


def _read_error(message: bytes) -> asyncpg.PostgresError:
    """Return the error that the driver would raise."""
    fields = {chr(part[0]): part[1:].decode(errors="replace") for part in message.split(b"\0") if part}
    return asyncpg.PostgresError.new(fields)
