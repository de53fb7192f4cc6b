"""Somebody at a workspace's pages: a browser with the cookie that signing in gives."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from html import unescape
from typing import TYPE_CHECKING

from quart import Quart
from quart.sessions import SecureCookieSessionInterface

from tests.conftest import SECRET_KEY
from tests.web.browsing import Browser, quick_hash

if TYPE_CHECKING:
    import asyncpg

    from tests.conftest import Tenant
    from tests.web.browsing import Page

_CSRF = re.compile(r'name="csrf_token" value="([^"]+)"')


class _Cookies(SecureCookieSessionInterface):
    digest_method = staticmethod(hashlib.sha256)


class Visitor:
    """Somebody with a session in one workspace, whose pages are asked for by their paths below its root."""

    def __init__(self, tenant: Tenant, cookie: str) -> None:
        self.tenant = tenant
        self.root = f"/w/{tenant.workspace.slug}"
        self._browser = Browser(tenant.host, tenant.port, cookies={(self.root, "session"): cookie})
        self._csrf = ""

    @property
    def cookie(self) -> str:
        return self._browser.cookies[self.root, "session"]

    def get(self, path: str = "", **headers: str) -> Page:
        page = self._browser.get(f"{self.root}/{path}", **headers)
        if found := _CSRF.search(page.body):
            self._csrf = unescape(found[1])
        return page

    def post(self, path: str, *, csrf: str | None = None, **form: str) -> Page:
        """Post a form with the token of the page that was looked at last."""
        return self._browser.post(f"{self.root}/{path}", {"csrf_token": self._csrf if csrf is None else csrf, **form})

    def static(self, path: str) -> str:
        """Return a static file, which is the same for everybody."""
        page = self._browser.get(path)
        assert page.status == 200, path
        return page.body


async def sign_in(admin: asyncpg.Connection, tenant: Tenant, user_id: int) -> Visitor:
    """Return a visitor; the passwords themselves are other tests' concern, and stay as they are."""
    stamp = await admin.fetchval(
        "INSERT INTO control.passwords AS p (workspace_id, user_id, hash, stamp) VALUES ($1, $2, $3, $4) "
        "ON CONFLICT (workspace_id, user_id) DO UPDATE SET stamp = p.stamp RETURNING stamp",
        tenant.workspace.id,
        user_id,
        quick_hash(secrets.token_urlsafe()),
        secrets.token_hex(8),
    )
    app = Quart("visiting")
    app.secret_key = SECRET_KEY
    signer = _Cookies().get_signing_serializer(app)
    assert signer is not None
    until = int(time.time()) + 3600
    session = {"workspace": tenant.workspace.id, "user": user_id, "stamp": stamp, "until": until}
    return Visitor(tenant, str(signer.dumps(session)))
