"""Who looks at a page, and the way of every request for one: find the workspace, check the session, enter, render.

A page is a function under `@page`, which says what it needs; its queries run in one transaction in the workspace,
READ ONLY unless it is a form, behind the same gate of access as the tools. `@guest_page` is for those who are not
signed in.

A page is not made for a client that has gone: what works on it is cancelled, and its transaction rolled back. A form is
dropped as long as nothing has been done for it; then it is carried out, since whoever closes the tab after pressing a
button expects what it says.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode

import asyncpg
import structlog
from quart import Blueprint, Response, current_app, request, session

from service.access import AccessLevel, Permission, access_gate
from service.audit import write
from service.domain.administration import DUTIES, Duty
from service.domain.visitors import find_visitor
from service.domain.work import Work
from service.errors import NotFoundOrDenied
from service.limits import client_address
from service.web import sessions
from service.web.addresses import PREFIX, root_of
from service.web.faults import Migrating, not_found, page_for
from service.web.templating import environment
from tenancy.session import Actor

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping

    from service.domain.visitors import Visitor
    from service.limits import Buckets
    from service.links import Signer
    from service.mail import Mailer
    from service.settings import Settings
    from service.web.guests import Guests
    from tenancy.accounts import Accounts, Place, Session
    from tenancy.release import Release
    from tenancy.session import Gateway

_LOG = structlog.get_logger()
_LARGEST = 2**63 - 1
#: The tabs of a project, and what one needs to see each.
TABS = (
    ("", "Dashboard", Permission.VIEW_DASHBOARD),
    ("/cases", "Test cases", Permission.VIEW_TEST_CASES),
    ("/runs", "Runs", Permission.VIEW_TEST_RUNS),
    ("/cycles", "Cycles", Permission.VIEW_CYCLES),
    ("/traceability", "Traceability", Permission.VIEW_EXTERNAL_REFERENCES),
)
#: The tabs of the administration, and the duty that each belongs to.
ADMIN_TABS = (
    ("/users", "Users", Duty.SEE_PEOPLE),
    ("/roles", "Roles", Duty.SEE_PEOPLE),
    ("/groups", "Groups", Duty.SEE_PEOPLE),
    ("/projects", "Projects", Duty.MANAGE_PROJECTS),
    ("/access", "Explain access", Duty.SEE_PEOPLE),
    ("/audit", "Audit log", Duty.READ_AUDIT_LOG),
)

#: Every page of a workspace; modules add theirs when they are imported.
workspace_pages = Blueprint("workspace", __name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Web:
    """What pages work with; in the workspaces that *release* serves."""

    gateway: Gateway
    accounts: Accounts
    settings: Settings
    release: Release
    signer: Signer
    mailer: Mailer
    guests: Guests
    sign_ins: Buckets
    resets: Buckets


@dataclass(frozen=True, slots=True, kw_only=True)
class Tab:
    """A tab with the address that it leads to."""

    name: str
    address: str
    is_current: bool


class Guest:
    """A request for a page of a workspace, by anybody."""

    def __init__(self, place: Place, form: Mapping[str, str]) -> None:
        self.web: Web = current_app.extensions["web"]
        self.place = place
        self.form = form
        #: What stands before the path of every page of the workspace.
        self.root = root_of(request.scope, place.slug)
        #: The address of this page.
        self.address = self.root + request.path.removeprefix(f"{PREFIX}{place.slug}")

    def text(self, name: str) -> str | None:
        """Return the parameter *name* of the address, None if it is not there or empty."""
        return _clean(request.args.get(name, "")) or None

    def number(self, name: str) -> int | None:
        """Return the parameter as an id, None if it is none."""
        text = request.args.get(name, "")
        return int(text) if text.isascii() and text.isdecimal() and int(text[:20]) <= _LARGEST else None

    def choice(self, name: str, choices: Iterable[str]) -> str | None:
        """Return the parameter if it is one of *choices*."""
        text = request.args.get(name, "")
        return text if text in choices else None

    def with_query(self, **changes: object) -> str:
        """Return the address of this page with the parameters that it has, changed; None takes one away."""
        parameters = {**request.args.to_dict(), **changes}
        query = urlencode({name: value for name, value in parameters.items() if value is not None})
        return f"{self.address}?{query}" if query else self.address

    def go_to(self, page: str, *, said: str = "", anchor: object = None) -> Response:
        """Return the way on to another page of the workspace, which will say *said*: never a secret."""
        if said:
            session["said"] = said
        return see_other(f"{self.root}/{page}" + ("" if anchor is None else f"#{anchor}"))

    async def render(self, template: str, *, status: int = 200, **context: Any) -> Response:
        """Return the page that the template makes of *context*."""
        html = environment.get_template(template).render({**self._frame(), "said": session.pop("said", ""), **context})
        return Response(html, status, content_type="text/html; charset=utf-8")

    async def render_part(self, template: str, **context: Any) -> Response:
        """Return a part of a page, which the browser need not fetch again while it is the same."""
        html = environment.get_template(template).render({**self._frame(), **context})
        answer = Response(html, content_type="text/html; charset=utf-8", headers={"Cache-Control": "private, no-cache"})
        await answer.add_etag()
        return await answer.make_conditional(request)

    def _frame(self) -> dict[str, Any]:
        return {
            "place": self.place,
            "root": self.root,
            "address": self.address,
            "given": request.args,
            "with_query": self.with_query,
            "theme": theme(),
            "user": None,
        }


class Visit(Guest):
    """A request for a page by a user who is signed in, within the transaction of the page."""

    def __init__(
        self,
        place: Place,
        form: Mapping[str, str],
        *,
        session: Session,
        user: Visitor,
        work: Work,
        project_id: int | None,
    ) -> None:
        super().__init__(place, form)
        self.session = session
        self.user = user
        self.work = work
        self._project_id = project_id
        self._page: tuple[str, dict[str, Any]] | None = None
        self._later: list[Callable[[], Awaitable[None]]] = []

    def may(self, permission: str) -> bool:
        """Return whether the visitor holds *permission* in the project of the page."""
        return permission in self.user.permissions

    def has_duty(self, duty: str) -> bool:
        """Return whether the visitor's access level lets them do this part of the administration."""
        return duty in DUTIES[AccessLevel(self.user.access_level)]

    def do_later(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do this without waiting for it when the transaction has been committed, and not otherwise."""
        self._later.append(work)

    async def render(self, template: str, *, status: int = 200, **context: Any) -> Response:
        """Return the page that the template makes of *context*; of the API keys *key_ids* it has *key_labels*.

        It is made when the transaction has ended: labels take another connection, and rendering needs none.
        """
        self._page = template, context
        return Response(status=status)

    async def finish(self, answer: Response) -> Response:
        """Return *answer* with the page that it stands for, if it does."""
        for work in self._later:
            current_app.add_background_task(work)
        if self._page is None:
            return answer
        template, context = self._page
        key_ids: Iterable[int] = context.get("key_ids", ())
        labels = await self.web.accounts.name_keys(self.session, key_ids) if key_ids else {}
        return await super().render(template, status=answer.status_code, key_labels=labels, **context)

    def _frame(self) -> dict[str, Any]:
        frame = super()._frame() | {"user": self.user, "may": self.may, "has_duty": self.has_duty}
        admin = f"{self.root}/admin"
        frame["admin_tabs"] = [
            Tab(name=name, address=admin + path, is_current=self._is_current(admin, path))
            for path, name, needed in ADMIN_TABS
            if self.has_duty(needed)
        ]
        if self._project_id is not None:
            here = f"{self.root}/projects/{self._project_id}"
            frame |= {
                "here": here,
                "project": {"id": self._project_id, "name": self.user.project},
                "project_tabs": [
                    Tab(name=name, address=here + path, is_current=self._is_current(here, path))
                    for path, name, needed in TABS
                    if self.may(needed)
                ],
            }
        return frame

    def _is_current(self, here: str, path: str) -> bool:
        return self.address == here + path or (path != "" and self.address.startswith(f"{here}{path}/"))


@workspace_pages.route("/<path:_rest>", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
async def nowhere(slug: str, _rest: str) -> Response:
    """Answer what no other route takes."""
    return not_found(root_of(request.scope, slug))


Handler = TypeVar("Handler", bound="Callable[..., Awaitable[Response]]")


def page(
    path: str, *, needs: Iterable[Permission] = (), duty: Duty | None = None, form: bool = False
) -> Callable[[Handler], Handler]:
    """Declare a page for users who are signed in, with the permissions *needs* in the project of *path*.

    With *duty* it is for those whose access level has that duty. With *form* it takes what a form posts, and may write.
    Who lacks a permission or the duty is told that there is no such page.
    """
    needed = tuple(needs)

    def declare(handler: Handler) -> Handler:
        async def serve(place: Place, **arguments: Any) -> Response:
            claimed = _session_of(place)
            if claimed is None:
                return _to_sign_in(place)
            given = await _posted() if form else {}
            project_id: int | None = arguments.get("project_id")
            gate = ""
            if project_id is not None:
                gate = access_gate(user_id=claimed.user_id, project_id=project_id, permissions=needed)
            web: Web = current_app.extensions["web"]
            actor = Actor(user_id=claimed.user_id, tool="web")
            async with web.gateway.workspace(
                place.schema_name, read_only=not form, actor=actor, gate=gate
            ) as connection:
                user = await find_visitor(connection, claimed.user_id, project_id=project_id)
                if user is None:
                    return _to_sign_in(place)
                work = Work(connection=connection)
                visit = Visit(place, given, session=claimed, user=user, work=work, project_id=project_id)
                if duty is not None and not visit.has_duty(duty):
                    raise NotFoundOrDenied
                answer = await handler(visit, **arguments)
                # What a form gets back with its faults has changed nothing.
                connection.rollback_only = form and answer.status_code >= 400  # noqa: PLR2004
                if not connection.rollback_only:
                    await write(connection, work.changes)
            return await visit.finish(answer)

        _add(path, handler, serve, form=form)
        return handler

    return declare


def guest_page(path: str, *, form: bool = False) -> Callable[[Handler], Handler]:
    """Declare a page for everybody who knows the workspace's address, in no transaction."""

    def declare(handler: Handler) -> Handler:
        async def serve(place: Place, **arguments: Any) -> Response:
            return await handler(Guest(place, await _posted() if form else {}), **arguments)

        _add(path, handler, serve, form=form)
        return handler

    return declare


def visitor_address() -> str:
    """Return the address that the one who asks is counted under."""
    web: Web = current_app.extensions["web"]
    return client_address(
        request.scope.get("client"),
        request.headers.getlist("X-Forwarded-For"),
        trusted_proxies=web.settings.trusted_proxies,
    )


def theme() -> str:
    """Return the colours that the visitor chose, empty for those of their system."""
    chosen = request.cookies.get("theme", "")
    return chosen if chosen in {"light", "dark"} else ""


def _add(path: str, handler: Callable[..., object], serve: Callable[..., Awaitable[Response]], *, form: bool) -> None:
    @wraps(handler)
    async def answer(slug: str, **arguments: Any) -> Response:
        began = time.perf_counter()
        guests: Guests = current_app.extensions["web"].guests
        told: dict[str, object] = {"page": handler.__name__, "method": request.method}

        async def work() -> Response:
            place = await _place(slug, arguments)
            told["workspace_id"] = place.workspace_id
            return await serve(place, **arguments)

        try:
            if form:
                # Whoever is slow to send it has no turn meanwhile.
                await request.form
            async with guests.turn(sessions.claimed()):
                answered = await (_to_its_end(work()) if form else _again(work))
        except Exception as error:  # noqa: BLE001 - the edge, where every fault becomes a page
            answered = page_for(error, root_of(request.scope, slug))
        except asyncio.CancelledError:
            _log(began, **told, outcome="gone")
            raise
        _log(began, **told, status=answered.status_code)
        return answered

    method = "POST" if form else "GET"
    workspace_pages.add_url_rule(path, f"{method} {path}", answer, methods=[method])


def _log(began: float, **told: object) -> None:
    _LOG.info("page", **told, duration_ms=round((time.perf_counter() - began) * 1000, 2))


async def _again(work: Callable[[], Awaitable[Response]]) -> Response:
    """Return what *work* answers, which writes nothing, at its second try where what was prepared became invalid."""
    try:
        return await work()
    except asyncpg.InvalidCachedStatementError:
        # A migration has changed a column's type meanwhile.
        return await work()


async def _to_its_end(work: Coroutine[None, None, Response]) -> Response:
    """Return what *work* answers, also when the client goes away meanwhile."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        # Whoever ends the process asks twice.
        return await task


async def _place(slug: str, arguments: Mapping[str, Any]) -> Place:
    web: Web = current_app.extensions["web"]
    if any(isinstance(value, int) and value > _LARGEST for value in arguments.values()):
        raise NotFoundOrDenied
    session = sessions.claimed()
    place = await web.accounts.find_place(_clean(slug), session)
    web.guests.settle(session, holds=place is not None and place.signed_in)
    if place is None:
        raise NotFoundOrDenied
    if not web.release.serves(place.schema_version, place.compatible_from):
        raise Migrating
    return place


def _session_of(place: Place) -> Session | None:
    return sessions.claimed() if place.signed_in else None


def _to_sign_in(place: Place) -> Response:
    guest = Guest(place, {})
    asked = guest.with_query() if request.method in {"GET", "HEAD"} else ""
    query = f"?{urlencode({'next': asked})}" if asked not in {"", f"{guest.root}/"} else ""
    return see_other(f"{guest.root}/sign-in{query}")


async def _posted() -> dict[str, str]:
    """Return what a form of ours posted; raise OutOfDate where it is none of ours."""
    form = {name: _clean(value) for name, value in (await request.form).items()}
    sessions.check_form(form)
    return form


def _clean(text: str) -> str:
    """Return *text* without what the database cannot store."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode()


def see_other(address: str) -> Response:
    """Return the way on to another page, which is to be read and not posted to."""
    return Response(status=303, headers={"Location": address})
