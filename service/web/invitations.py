"""Links that let a user in: mailed where there is a mail server, or shown to whoever made them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart import request

from service.links import LIFETIMES, Link, Purpose, link_address, workspace_address
from service.web.addresses import is_loopback
from service.web.sessions import is_secure

if TYPE_CHECKING:
    from service.web.visitors import Guest

_SUBJECTS = {
    Purpose.INVITATION: "{by} invites you to {place}",
    Purpose.RESET: "Another password for {place}",
}
_TEXTS = {
    Purpose.INVITATION: """\
{by} invites you to the workspace {place}.

Choose your name and password within {days} days:
{address}

If you do not know what this is about, there is nothing to do.
""",
    Purpose.RESET: """\
{by}, an administrator, lets you set another password for the workspace {place}.

Set it within {minutes} minutes:
{address}

If you did not ask for it, there is nothing to do: your password stays as it is.
""",
}


def mail_address(guest: Guest) -> str:
    """Return where the workspace is for links in mails, empty where that is not known.

    It is never read from the Host header, which anybody may write, but on loopback.
    """
    settings = guest.web.settings
    told = workspace_address(guest.place.slug, base_domain=settings.base_domain, public_url=settings.public_url)
    if told is None and is_loopback(request.host):
        return f"{request.scheme}://{request.host}{guest.root}"
    return told or ""


def can_mail(guest: Guest) -> bool:
    """Return whether links can be mailed."""
    return guest.web.mailer.is_on and bool(mail_address(guest))


def link_to_show(guest: Guest, purpose: Purpose, link: Link) -> str:
    """Return a link for whoever asks: it leads where they are, if the settings do not know where that is."""
    here = f"{'https' if is_secure() else request.scheme}://{request.host}{guest.root}"
    return link_address(mail_address(guest) or here, purpose, guest.web.signer.token(purpose, link))


def letter(guest: Guest, purpose: Purpose, link: Link, *, by: str) -> tuple[str, str]:
    """Return the subject and the text of the mail with the link."""
    lasts = LIFETIMES[purpose]
    words = {
        "by": by,
        "place": guest.place.name,
        "address": link_to_show(guest, purpose, link),
        "days": lasts.days,
        "minutes": int(lasts.total_seconds() // 60),
    }
    return _SUBJECTS[purpose].format_map(words), _TEXTS[purpose].format_map(words)
