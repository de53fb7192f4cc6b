"""The signed cookie: who is signed in, the token of forms, and what to say on the next page. One for each workspace."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING

from quart import request, session
from quart.sessions import SecureCookieSession, SecureCookieSessionInterface
from werkzeug.exceptions import BadRequest

from service.web.addresses import PREFIX, is_loopback, root_of
from tenancy.accounts import Session

if TYPE_CHECKING:
    from collections.abc import Mapping

    from quart import Quart
    from quart.wrappers import BaseRequestWebsocket

    from tenancy.accounts import Place

CSRF_FIELD = "csrf_token"
REMEMBERED = dt.timedelta(days=30)
#: Without *remember me* the browser forgets the cookie at its end, and we after this time.
_A_DAYS_WORK = dt.timedelta(hours=12)


class OutOfDate(BadRequest):
    """A form that did not come from a page of this session."""


class WorkspaceSessions(SecureCookieSessionInterface):
    """Keeps the cookies of workspaces apart by their path, where they share a host."""

    digest_method = staticmethod(hashlib.sha256)

    async def open_session(self, app: Quart, request: BaseRequestWebsocket) -> SecureCookieSession | None:
        """Return what the cookie holds; outside of workspaces there is no session, which need not be looked at."""
        return await super().open_session(app, request) if request.path.startswith(PREFIX) else None

    def get_cookie_path(self, _: Quart) -> str:
        """Return the path of the workspace's pages."""
        slug = request.path.removeprefix(PREFIX).partition("/")[0]
        return root_of(request.scope, slug) or "/"

    def get_cookie_secure(self, _: Quart) -> bool:
        """Return whether the cookie travels over TLS only."""
        return is_cookie_secure()


def is_secure() -> bool:
    """Return whether the browser speaks TLS, with us or with the proxy before us."""
    return request.scheme == "https" or request.headers.get("X-Forwarded-Proto", "").strip().lower() == "https"


def is_cookie_secure() -> bool:
    """Return whether a cookie travels over TLS only: always but on one's own machine."""
    return is_secure() or not is_loopback(request.host)


def begin(place: Place, *, user_id: int, stamp: str, remember: bool) -> None:
    """Sign the user in: whatever the cookie held before, somebody else's token included, is gone."""
    session.clear()
    session.permanent = remember
    lasts = REMEMBERED if remember else _A_DAYS_WORK
    session["workspace"] = place.workspace_id
    session["user"] = user_id
    session["stamp"] = stamp
    session["until"] = int((dt.datetime.now(dt.UTC) + lasts).timestamp())


def renew(stamp: str) -> None:
    """Keep the session over a change of the password; all others of the user end."""
    session["stamp"] = stamp


def end() -> None:
    """Sign out."""
    session.clear()


def claimed() -> Session | None:
    """Return whom the cookie says to be signed in; whether that holds only the database knows."""
    try:
        found = Session(workspace_id=session["workspace"], user_id=session["user"], stamp=session["stamp"])
        until: int = session["until"]
    except KeyError:
        return None
    return found if until > dt.datetime.now(dt.UTC).timestamp() else None


def csrf_token() -> str:
    """Return the token that every form of this session carries."""
    if "csrf" not in session:
        session["csrf"] = secrets.token_urlsafe(16)
    return str(session["csrf"])


def check_form(form: Mapping[str, str]) -> None:
    """Raise OutOfDate unless the form was sent by a page of this session."""
    site = request.headers.get("Sec-Fetch-Site", "same-origin")
    sent = form.get(CSRF_FIELD, "").encode("utf-8", "surrogatepass")
    is_ours = "csrf" in session and hmac.compare_digest(sent, csrf_token().encode())
    if not is_ours or site not in {"same-origin", "none"}:
        raise OutOfDate
