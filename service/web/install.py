"""Putting the pages into the application: routes, cookies, headers and faults."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart import Response, request

from service.domain.passwords import prepare
from service.limits import Buckets
from service.links import Signer
from service.mail import Mailer
from service.web import passwords, profile, sessions, sign_in, workspace
from service.web.addresses import PREFIX, STATIC, SubDomains, root_of
from service.web.admin import pages as admin
from service.web.faults import not_found, too_many_pages
from service.web.guests import Guests
from service.web.sessions import REMEMBERED, WorkspaceSessions, is_secure
from service.web.templating import environment, static_answer
from service.web.visitors import Web, see_other, visitor_address, workspace_pages

if TYPE_CHECKING:
    from quart import Quart

    from service.settings import Settings
    from tenancy.accounts import Accounts
    from tenancy.release import Release
    from tenancy.session import Gateway

#: The modules of pages, whose import declares them.
PAGES = (*workspace.PAGES, *admin.PAGES, sign_in, passwords, profile)

_LARGEST_FORM = 256 * 1024
_HEADERS = {
    # No script or style but our files; nobody may frame a page, and no form may send anything elsewhere.
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Links of invitations must not be told to anybody.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
    # What a workspace's pages show is not to be found in a browser's cache after signing out.
    "Cache-Control": "no-store",
}
#: Mails to one user, in how many seconds.
_RESETS, _RESETS_SECONDS = 3, 15 * 60
_HSTS = "max-age=31536000"


def install(
    app: Quart,
    gateway: Gateway,
    accounts: Accounts,
    settings: Settings,
    *,
    release: Release,
    endpoint: str,
    guests_at_once: int,
    not_pages: frozenset[str],
) -> None:
    """Serve the pages beside *endpoint*. Without a secret key nobody can be signed in, so there are none.

    Of those who are not signed in *guests_at_once* are served at a time. What is at the paths *not_pages* looks after
    itself.
    """
    if settings.secret_key is None:
        return
    app.secret_key = settings.secret_key.get_secret_value()
    app.session_interface = WorkspaceSessions()
    app.config.update(
        MAX_CONTENT_LENGTH=_LARGEST_FORM,
        BODY_TIMEOUT=settings.body_timeout_seconds,
        PERMANENT_SESSION_LIFETIME=REMEMBERED,
        SESSION_COOKIE_NAME="session",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_REFRESH_EACH_REQUEST=False,
    )
    web = app.extensions["web"] = Web(
        gateway=gateway,
        accounts=accounts,
        settings=settings,
        release=release,
        signer=Signer(app.secret_key),
        mailer=Mailer(settings),
        guests=Guests(settings, at_once=guests_at_once),
        resets=Buckets(burst=_RESETS, per_second=_RESETS / _RESETS_SECONDS),
        sign_ins=Buckets(burst=settings.sign_ins_per_minute, per_second=settings.sign_ins_per_minute / 60),
    )
    workspace.teach(environment)
    admin.teach(environment)
    app.register_blueprint(workspace_pages, url_prefix=f"{PREFIX}<slug>")
    _add_shared_routes(app)

    app.before_serving(prepare)

    @app.before_request
    async def admit() -> Response | None:
        # Before anything is known of what is asked for.
        if request.path in not_pages or request.path.startswith(STATIC):
            return None
        address = visitor_address()
        wait = web.guests.take(sessions.claimed(), address)
        return too_many_pages(wait, address) if wait else None

    @app.after_request
    async def secure(response: Response) -> Response:
        # What programs get, they do not show.
        if response.mimetype in {"application/json", None}:
            return response
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        if is_secure():
            response.headers["Strict-Transport-Security"] = _HSTS
        return response

    if settings.base_domain is not None:
        app.asgi_app = SubDomains(app.asgi_app, settings.base_domain, endpoint)  # type: ignore[method-assign]


def _add_shared_routes(app: Quart) -> None:
    """Serve what is of no workspace: the static files, and the way to a workspace's sign-in."""

    @app.get(f"{STATIC}<digest>/<name>")
    async def file(digest: str, name: str) -> Response:
        return static_answer(digest, name) or not_found()

    @app.get("/")
    async def front() -> Response:
        if slug := request.args.get("workspace", "").strip().lower():
            return see_other(f"{root_of({}, slug)}/sign-in")
        html = environment.get_template("front.html").render()
        return Response(html, content_type="text/html; charset=utf-8")
