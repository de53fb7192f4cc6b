"""Signing in and out. What an attacker may learn from it is the same whether there is such a user or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.domain.passwords import hash_again
from service.domain.visitors import active_user
from service.web import sessions
from service.web.addresses import is_local_path
from service.web.visitors import guest_page, see_other, visitor_address

if TYPE_CHECKING:
    from quart import Response

    from service.web.visitors import Guest

_WRONG = (
    "This e-mail and password do not belong together. After five wrong tries in a row, the account is locked for "
    "15 minutes."
)
_TOO_MANY = "There were too many tries from your network. Wait a minute and try again."
_THEMES = ("light", "dark")
_A_YEAR = 365 * 24 * 60 * 60


@guest_page("/sign-in")
async def show_sign_in(guest: Guest) -> Response:
    """Show the form."""
    if guest.place.signed_in and sessions.claimed() is not None:
        return guest.go_to("")
    return await guest.render("sign_in.html", next=_local(guest, guest.text("next") or ""))


@guest_page("/sign-in", form=True)
async def sign_in(guest: Guest) -> Response:
    """Check the password and begin a session."""
    email, password = guest.form.get("email", ""), guest.form.get("password", "")
    target = _local(guest, guest.form.get("next", ""))
    remember = "remember" in guest.form
    if guest.web.sign_ins.take(visitor_address()):
        return await guest.render(
            "sign_in.html", status=429, fault=_TOO_MANY, email=email, remember=remember, next=target
        )
    place, accounts = guest.place, guest.web.accounts
    # The same queries and the same work for everybody, in the same order: whoever it is, and whatever is wrong.
    is_admitted = await accounts.admit_sign_in(place.workspace_id, email)
    async with guest.web.gateway.workspace(place.schema_name, read_only=True) as connection:
        user_id = await active_user(connection, email)
    computed = await hash_again(password, await accounts.password_salt(place.workspace_id, user_id))
    stamp = await accounts.prove_password(place.workspace_id, user_id, computed)
    if stamp is None or not is_admitted or user_id is None:
        return await guest.render("sign_in.html", status=422, fault=_WRONG, email=email, remember=remember, next=target)
    await accounts.forget_sign_ins(place.workspace_id, email)
    sessions.begin(place, user_id=user_id, stamp=stamp, remember=remember)
    return see_other(target or f"{guest.root}/")


@guest_page("/sign-out", form=True)
async def sign_out(guest: Guest) -> Response:
    """End the session."""
    sessions.end()
    return guest.go_to("sign-in", said="You are signed out.")


@guest_page("/theme", form=True)
async def choose_theme(guest: Guest) -> Response:
    """Keep the colours that the visitor chooses: those of their system, light or dark."""
    answer = see_other(_local(guest, guest.form.get("next", "")) or f"{guest.root}/")
    chosen = guest.form.get("theme", "")
    secure = sessions.is_cookie_secure()
    if chosen in _THEMES:
        answer.set_cookie(
            "theme", chosen, max_age=_A_YEAR, path=guest.root or "/", secure=secure, httponly=True, samesite="Lax"
        )
    else:
        answer.delete_cookie("theme", path=guest.root or "/", secure=secure, httponly=True, samesite="Lax")
    return answer


def _local(guest: Guest, target: str) -> str:
    """Return *target* if it is a page of this workspace, else nothing: nobody is led elsewhere."""
    return target if is_local_path(target) and target.startswith(f"{guest.root}/") else ""
