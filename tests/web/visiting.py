"""A person at the pages, without a browser: HTTP with the cookie of somebody who is signed in."""

from __future__ import annotations

import hashlib
import http.client
import re
import secrets
import time
from dataclasses import dataclass
from html import unescape
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from quart import Quart
from quart.sessions import SecureCookieSessionInterface

from tests.conftest import SECRET_KEY

if TYPE_CHECKING:
    import asyncpg

    from tests.conftest import Tenant

_CSRF = re.compile(r'name="csrf_token" value="([^"]+)"')


class _Cookies(SecureCookieSessionInterface):
    digest_method = staticmethod(hashlib.sha256)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: str


class Visitor:
    """Somebody with a session in one workspace; one for each thread."""

    def __init__(self, tenant: Tenant, cookie: str) -> None:
        self.tenant = tenant
        self.root = f"/w/{tenant.workspace.slug}"
        self.cookies = {"session": cookie}
        self._csrf = ""

    def get(self, path: str = "", **headers: str) -> Answer:
        answer = self._ask("GET", path, None, headers)
        if found := _CSRF.search(answer.body):
            self._csrf = unescape(found[1])
        return answer

    def post(self, path: str, *, csrf: str | None = None, **form: str) -> Answer:
        body = urlencode({"csrf_token": self._csrf if csrf is None else csrf, **form})
        return self._ask("POST", path, body, {"Content-Type": "application/x-www-form-urlencoded"})

    def static(self, path: str) -> bytes:
        """Return a static file, which is the same for everybody."""
        connection = http.client.HTTPConnection(self.tenant.host, self.tenant.port, timeout=30)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            assert response.status == 200, path
            return response.read()
        finally:
            connection.close()

    def _ask(self, method: str, path: str, body: str | None, headers: dict[str, str]) -> Answer:
        connection = http.client.HTTPConnection(self.tenant.host, self.tenant.port, timeout=30)
        sent = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items()), **headers}
        try:
            connection.request(method, f"{self.root}/{path}", body=body, headers=sent)
            response = connection.getresponse()
            received = {name.lower(): value for name, value in response.getheaders()}
            text = response.read().decode()
        finally:
            connection.close()
        if found := re.match(r"session=([^;]*)", received.get("set-cookie", "")):
            self.cookies["session"] = found[1]
        return Answer(response.status, received, text)


async def sign_in(admin: asyncpg.Connection, tenant: Tenant, user_id: int) -> Visitor:
    """Return a visitor with the cookie that signing in gives; the password itself is the other tests' concern."""
    stamp = secrets.token_hex(8)
    await admin.execute(
        "INSERT INTO control.passwords (workspace_id, user_id, hash, stamp) VALUES ($1, $2, 'none', $3) "
        "ON CONFLICT (workspace_id, user_id) DO UPDATE SET stamp = excluded.stamp",
        tenant.workspace.id,
        user_id,
        stamp,
    )
    app = Quart("visiting")
    app.secret_key = SECRET_KEY
    signer = _Cookies().get_signing_serializer(app)
    assert signer is not None
    until = int(time.time()) + 3600
    session = {"workspace": tenant.workspace.id, "user": user_id, "stamp": stamp, "until": until}
    return Visitor(tenant, str(signer.dumps(session)))
