"""Profile → API Keys: one's own keys, and only those. A key is shown in the answer to its making, and never again."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from quart import request

from service.errors import NotFoundOrDenied
from service.snippets import snippets
from service.web.visitors import page
from tenancy.errors import TenancyError

if TYPE_CHECKING:
    from quart import Response

    from service.web.visitors import Visit
    from tenancy.keys import ApiKey

_LONGEST_LIFE = dt.timedelta(days=3650)


@page("/profile/keys")
async def keys(visit: Visit) -> Response:
    """Show the visitor's keys, and the form for another one."""
    return await _list(visit)


@page("/profile/keys", form=True)
async def create_key(visit: Visit) -> Response:
    """Make a key and show it: there is no page to go on to, since the key is stored nowhere."""
    label = visit.form.get("label", "").strip()
    expires_at, fault = _expiry(visit.form.get("expires", "").strip())
    faults = {"expires": fault} if fault else {}
    key = None
    if not faults:
        try:
            key = await visit.web.accounts.create_own_key(visit.session, label=label, expires_at=expires_at)
        except TenancyError:
            faults["label"] = "Write what the key is for, in at most 100 characters."
        else:
            if key is None:
                faults["label"] = "You have 100 keys that work: revoke one first."
    if key is None:
        return await _list(visit, status=422, faults=faults)
    url = _endpoint(visit)
    return await visit.render(
        "key.html", key=key, label=label, expires_at=expires_at, url=url, snippets=snippets(url, key)
    )


@page("/profile/keys/<int:key_id>/revoke")
async def confirm_revocation(visit: Visit, key_id: int) -> Response:
    """Ask whether to revoke a key."""
    return await visit.render("revoke.html", key=await _own(visit, key_id))


@page("/profile/keys/<int:key_id>/revoke", form=True)
async def revoke_key(visit: Visit, key_id: int) -> Response:
    """Revoke a key for good."""
    key = await _own(visit, key_id)
    await visit.web.accounts.revoke_own_key(visit.session, key_id)
    return visit.go_to("profile/keys", said=f"The key “{key.label}” is revoked. Its next request is refused.")


async def _own(visit: Visit, key_id: int) -> ApiKey:
    for key in await visit.web.accounts.list_own_keys(visit.session):
        if key.id == key_id and key.state == "active":
            return key
    raise NotFoundOrDenied


async def _list(visit: Visit, *, status: int = 200, faults: dict[str, str] | None = None) -> Response:
    """Return the page of keys; with *faults* the form keeps what was typed."""
    today = dt.datetime.now(dt.UTC).date()
    return await visit.render(
        "keys.html",
        status=status,
        own_keys=await visit.web.accounts.list_own_keys(visit.session),
        faults=faults or {},
        form=visit.form,
        first=today,
        last=today + _LONGEST_LIFE,
        url=_endpoint(visit),
    )


def _expiry(typed: str) -> tuple[dt.datetime | None, str]:
    """Return the end of the day in UTC that was typed, None for never, or what is wrong with it."""
    if not typed:
        return None, ""
    try:
        day = dt.date.fromisoformat(typed)
    except ValueError:
        return None, "Write a date as 2027-12-31, or nothing for a key that does not expire."
    today = dt.datetime.now(dt.UTC).date()
    if not today <= day <= today + _LONGEST_LIFE:
        return None, f"Choose a day from {today} to {today + _LONGEST_LIFE}."
    return dt.datetime.combine(day + dt.timedelta(days=1), dt.time(), dt.UTC), ""


def _endpoint(visit: Visit) -> str:
    """Return the URL of the endpoint for snippets."""
    settings = visit.web.settings
    if settings.base_domain is not None:
        return f"https://api.{settings.base_domain}/mcp"
    return f"{settings.public_url or f'{request.scheme}://{request.host}'}/mcp"
