"""Where pages are: `/w/<slug>/…` always, and `https://<slug>.<base domain>/…` where there are sub-domains."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, urlsplit

from tenancy.catalog import RESERVED_SLUGS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, Scope

#: What stands before the slug in a path.
PREFIX = "/w/"
#: The path of all static files, on every host.
STATIC = "/static/"
#: The key in the scope of a request by sub-domain; its value stands before the paths of that workspace's pages.
_ROOT = "testorchestrator.root"


class ASGIApplication(Protocol):
    """What serves the requests."""

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Serve one connection."""
        ...


class SubDomains:
    """Passes requests to `<slug>.<base domain>` on as requests for that workspace's path. Reserved names are hosts.

    The path *endpoint* is the same on every host, as static files are.
    """

    def __init__(self, application: ASGIApplication, base_domain: str, endpoint: str) -> None:
        self._application = application
        self._endpoint = endpoint
        self._suffix = f".{base_domain.lower()}"

    async def __call__(self, scope: Any, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Serve one connection."""
        if scope["type"] == "http" and self._is_page(scope["path"]) and (slug := self._slug(scope)):
            path = f"{PREFIX}{slug}"
            scope = {
                **scope,
                "path": path + scope["path"],
                "raw_path": path.encode() + scope["raw_path"],
                _ROOT: "",
            }
        await self._application(scope, receive, send)

    def _is_page(self, path: str) -> bool:
        return path != self._endpoint and not path.startswith(STATIC)

    def _slug(self, scope: Any) -> str | None:
        host = next((value.decode("latin-1").lower() for name, value in scope["headers"] if name == b"host"), "")
        slug = host.partition(":")[0].removesuffix(self._suffix)
        return slug if slug != host.partition(":")[0] and "." not in slug and slug not in RESERVED_SLUGS else None


def root_of(scope: Mapping[str, Any], slug: str) -> str:
    """Return what stands before the paths of the workspace's pages, as the one who asks addresses them."""
    return str(scope.get(_ROOT, f"{PREFIX}{quote(slug)}"))


def is_loopback(host: str) -> bool:
    """Return whether the host of a Host header is this machine."""
    name = urlsplit(f"//{host}").hostname or ""
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def is_local_path(target: str) -> bool:
    """Return whether *target* leads to a page of ours: a path, which no browser reads as another host."""
    plain = target.isprintable() and "\\" not in target and " " not in target
    return plain and target.startswith("/") and not target.startswith("//")
