"""Links that let a person in once: to accept an invitation, or to set another password. And where they lead.

A link holds a secret, whose hash the control plane keeps until a password is set or another link is issued. So it works
once, and what was only signed opens nothing.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import astuple, dataclass, field
from enum import StrEnum
from urllib.parse import urlencode

from itsdangerous import BadData, SignatureExpired, URLSafeTimedSerializer


class Purpose(StrEnum):
    """What a link is for: the path of its page."""

    INVITATION = "invitation"
    RESET = "password/reset"


LIFETIMES = {Purpose.INVITATION: dt.timedelta(days=7), Purpose.RESET: dt.timedelta(hours=1)}


class LinkExpired(Exception):  # noqa: N818 - says what is the matter
    """The link was made too long ago."""


class LinkInvalid(Exception):  # noqa: N818 - says what is the matter
    """Nobody with the secret key made this link, or not for this."""


@dataclass(frozen=True, slots=True)
class Link:
    """Whom the link is for, and the *secret* that it was issued with."""

    workspace_id: int
    user_id: int
    secret: str = field(repr=False)


class Signer:
    """Makes tokens and reads them."""

    def __init__(self, secret_key: str) -> None:
        self._serializers = {
            purpose: URLSafeTimedSerializer(
                secret_key, salt=f"testorchestrator.{purpose}", signer_kwargs={"digest_method": hashlib.sha256}
            )
            for purpose in Purpose
        }

    def token(self, purpose: Purpose, link: Link) -> str:
        """Return the token of a new link."""
        return str(self._serializers[purpose].dumps(astuple(link)))

    def read(self, purpose: Purpose, token: str) -> Link:
        """Return what the token holds; raise LinkExpired or LinkInvalid."""
        try:
            found = self._serializers[purpose].loads(token, max_age=int(LIFETIMES[purpose].total_seconds()))
            return Link(*found)
        except SignatureExpired as error:
            raise LinkExpired from error
        except (BadData, TypeError) as error:
            raise LinkInvalid from error


def workspace_address(slug: str, *, base_domain: str | None, public_url: str | None) -> str | None:
    """Return the address of a workspace's pages as the settings tell it: None where they do not."""
    if base_domain is not None:
        return f"https://{slug}.{base_domain}"
    return None if public_url is None else f"{public_url}/w/{slug}"


def link_address(workspace: str, purpose: Purpose, token: str) -> str:
    """Return the whole address of a link, below that of the *workspace*."""
    return f"{workspace}/{purpose}?{urlencode({'token': token})}"
