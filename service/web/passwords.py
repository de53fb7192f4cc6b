"""Passwords: changing one's own, and the links that let a person in who has none, or forgot it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart import current_app

from service.domain.passwords import RULE, hash_again, hash_password, password_fault
from service.domain.visitors import Visitor, active_user, find_visitor, rename_self
from service.links import LIFETIMES, Link, LinkExpired, LinkInvalid, Purpose, link_address
from service.web import sessions
from service.web.invitations import can_mail, mail_address
from service.web.visitors import guest_page, page, visitor_address
from tenancy.session import Actor

if TYPE_CHECKING:
    from quart import Response

    from service.web.visitors import Guest, Visit, Web
    from tenancy.accounts import Place

_LONGEST_NAME = 100
_TOO_MANY = "There were too many tries. Wait some minutes and try again."
_FAULTS = {
    "no token": "This address is not complete: use the whole link of the message that you got.",
    "invalid": "This link is not valid: use the whole link of the message that you got.",
    (Purpose.INVITATION, "expired"): "This invitation has expired: ask an administrator for another one.",
    (Purpose.INVITATION, "used"): "This invitation has been accepted already: sign in with your password.",
    (Purpose.INVITATION, "cancelled"): "An administrator has cancelled this invitation.",
    (Purpose.RESET, "expired"): "This link has expired: ask for another one.",
    (Purpose.RESET, "used"): "This link has been used, or the password was changed since: ask for another one.",
    (Purpose.RESET, "cancelled"): "This account is deactivated: ask an administrator.",
}


class _Unusable(Exception):  # noqa: N818 - says what is the matter
    """The link cannot be used; the text says why."""


@page("/profile/password")
async def show_change(visit: Visit) -> Response:
    """Show the form for another password."""
    return await visit.render("password.html", rule=RULE)


@page("/profile/password", form=True)
async def change(visit: Visit) -> Response:
    """Replace the visitor's own password; their other sessions end."""
    accounts, session, user = visit.web.accounts, visit.session, visit.user
    faults = _new_password_faults(visit, about=_guessable(visit, user))
    # Whoever finds a session open must not try passwords on without end.
    is_admitted = await accounts.admit_sign_in(session.workspace_id, user.email)
    salt = await accounts.password_salt(session.workspace_id, session.user_id)
    computed = await hash_again(visit.form.get("current", ""), salt)
    is_right = await accounts.prove_password(session.workspace_id, session.user_id, computed) is not None
    if not is_admitted:
        faults["current"] = _TOO_MANY
    elif not is_right:
        faults["current"] = "This is not your present password."
    if is_right and is_admitted:
        await accounts.forget_sign_ins(session.workspace_id, user.email)
    if faults:
        return await visit.render("password.html", status=422, rule=RULE, faults=faults)
    stamp = await accounts.change_password(
        session.workspace_id,
        session.user_id,
        computed_hash=computed,
        new_hash=await hash_password(visit.form["password"]),
    )
    if stamp is None:
        return visit.go_to("sign-in")
    sessions.renew(stamp)
    return visit.go_to("profile/password", said="Your password is changed. All other sessions have ended.")


@guest_page("/password/forgot")
async def show_forgot(guest: Guest) -> Response:
    """Show the form for a link, or how else to get one."""
    return await guest.render("forgot.html", can_mail=can_mail(guest))


@guest_page("/password/forgot", form=True)
async def forgot(guest: Guest) -> Response:
    """Send a link, if there is such a user; the answer does not tell."""
    email = guest.form.get("email", "").strip()
    place, web = guest.place, guest.web
    if not can_mail(guest):
        return await guest.render("forgot.html", status=422, can_mail=False)
    if web.sign_ins.take(visitor_address()) or web.resets.take((place.workspace_id, email.lower())):
        return await guest.render("forgot.html", status=429, can_mail=True, fault=_TOO_MANY, email=email)
    async with web.gateway.workspace(place.schema_name, read_only=True) as connection:
        user_id = await active_user(connection, email)
    if user_id is not None:
        # After the answer, which would otherwise tell by its time whether there is somebody to write to.
        current_app.add_background_task(_send_reset, web, place, user_id, email, mail_address(guest))
    return await guest.render("forgot.html", can_mail=True, sent=True, email=email)


async def _send_reset(web: Web, place: Place, user_id: int, email: str, workspace: str) -> None:
    secret = await web.accounts.issue_link(place.workspace_id, user_id, Purpose.RESET)
    token = web.signer.token(Purpose.RESET, Link(place.workspace_id, user_id, secret))
    minutes = int(LIFETIMES[Purpose.RESET].total_seconds() // 60)
    await web.mailer.send(
        email,
        f"Another password for {place.name}",
        f"Somebody, probably you, asked for another password for the workspace {place.name}.\n\n"
        f"Set it within {minutes} minutes:\n{link_address(workspace, Purpose.RESET, token)}\n\n"
        "If it was not you, there is nothing to do: your password stays as it is.\n",
    )


@guest_page("/password/reset")
async def show_reset(guest: Guest) -> Response:
    """Show the form of a link for another password."""
    return await _show(guest, Purpose.RESET)


@guest_page("/password/reset", form=True)
async def reset(guest: Guest) -> Response:
    """Set the password that a link allows to set."""
    return await _accept(guest, Purpose.RESET)


@guest_page("/invitation")
async def show_invitation(guest: Guest) -> Response:
    """Show the form of an invitation."""
    return await _show(guest, Purpose.INVITATION)


@guest_page("/invitation", form=True)
async def accept_invitation(guest: Guest) -> Response:
    """Give the invited person their name and first password."""
    return await _accept(guest, Purpose.INVITATION)


async def _show(guest: Guest, purpose: Purpose) -> Response:
    token = guest.text("token") or ""
    try:
        _, invited = await _read(guest, purpose, token)
    except _Unusable as reason:
        return await guest.render("link_fault.html", status=410, fault=str(reason))
    return await guest.render(
        "set_password.html", rule=RULE, token=token, invited=invited, name=invited.name, is_new=_is_new(purpose)
    )


async def _accept(guest: Guest, purpose: Purpose) -> Response:
    try:
        return await _set_password(guest, purpose, guest.form.get("token", ""))
    except _Unusable as reason:
        return await guest.render("link_fault.html", status=410, fault=str(reason))


async def _set_password(guest: Guest, purpose: Purpose, token: str) -> Response:
    link, invited = await _read(guest, purpose, token)
    is_new, name = _is_new(purpose), guest.form.get("name", "").strip()
    faults = _new_password_faults(guest, about=_guessable(guest, invited))
    if is_new and (not name or len(name) > _LONGEST_NAME or not name.isprintable()):
        faults["name"] = f"Write your name in at most {_LONGEST_NAME} characters."
    if faults:
        shown = {"token": token, "invited": invited, "name": name, "is_new": is_new, "faults": faults}
        return await guest.render("set_password.html", status=422, rule=RULE, **shown)
    new_hash = await hash_password(guest.form["password"])
    accounts, place = guest.web.accounts, guest.place
    stamp = await accounts.use_link(link.workspace_id, link.user_id, purpose, link.secret, new_hash=new_hash)
    if stamp is None:
        raise _Unusable(_FAULTS[purpose, "used"])
    await accounts.forget_sign_ins(link.workspace_id, invited.email)
    if is_new:
        actor = Actor(user_id=link.user_id, tool="web")
        async with guest.web.gateway.workspace(place.schema_name, read_only=False, actor=actor) as connection:
            await rename_self(connection, link.user_id, name)
    sessions.begin(place, user_id=link.user_id, stamp=stamp, remember=False)
    return guest.go_to("", said=f"Welcome to {place.name}." if is_new else "Your password is changed.")


async def _read(guest: Guest, purpose: Purpose, token: str) -> tuple[Link, Visitor]:
    """Return the link and whom it is for; raise _Unusable with what is said instead."""
    if not token:
        raise _Unusable(_FAULTS["no token"])
    try:
        link = guest.web.signer.read(purpose, token)
    except LinkExpired:
        raise _Unusable(_FAULTS[purpose, "expired"]) from None
    except LinkInvalid:
        raise _Unusable(_FAULTS["invalid"]) from None
    if link.workspace_id != guest.place.workspace_id:
        raise _Unusable(_FAULTS["invalid"])
    async with guest.web.gateway.workspace(guest.place.schema_name, read_only=True) as connection:
        invited = await find_visitor(connection, link.user_id)
    if invited is None:
        raise _Unusable(_FAULTS[purpose, "cancelled"])
    if not await guest.web.accounts.holds_link(link.workspace_id, link.user_id, purpose, link.secret):
        raise _Unusable(_FAULTS[purpose, "used"])
    return link, invited


def _new_password_faults(guest: Guest, *, about: tuple[str, ...]) -> dict[str, str]:
    password, again = guest.form.get("password", ""), guest.form.get("again", "")
    if fault := password_fault(password, about=about):
        return {"password": fault}
    return {} if password == again else {"again": "This is not the same password."}


def _guessable(guest: Guest, user: Visitor) -> tuple[str, ...]:
    return user.email, user.email.partition("@")[0], user.name, guest.place.slug, guest.place.name


def _is_new(purpose: Purpose) -> bool:
    return purpose is Purpose.INVITATION
