"""The two eras of MCP: which one a request is of, and what a modern one must bring. Pure.

Legacy: 2024-11-05 to 2025-11-25, opened by `initialize`. Modern: 2026-07-28, where every request carries its version
and capabilities in `_meta` and names its method and tool in headers.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

from service.mcp.envelope import INVALID_PARAMS, Fault, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.mcp.envelope import Request

LEGACY_VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
MODERN_VERSION = "2026-07-28"
BATCH_VERSION = "2025-03-26"

HEADER_MISMATCH = -32020
UNSUPPORTED_VERSION = -32022

VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES_KEY = "io.modelcontextprotocol/clientCapabilities"
SERVER_INFO_KEY = "io.modelcontextprotocol/serverInfo"

_WRAPPED = ("=?base64?", "?=")
_SPACE = " \t"


class RoutingHeaders:
    """The headers that a modern request repeats its body in, each with all values that were sent."""

    __slots__ = ("method", "name", "version")

    def __init__(self, *, version: Sequence[str] = (), method: Sequence[str] = (), name: Sequence[str] = ()) -> None:
        self.version = [value.strip(_SPACE) for value in version]
        self.method = [value.strip(_SPACE) for value in method]
        self.name = [value.strip(_SPACE) for value in name]


def is_modern(request: Request, headers: RoutingHeaders) -> bool:
    """Return whether *request* is of the modern era; raise a Fault for a version that no era has."""
    if has_modern_meta(request):
        return True
    unknown = [version for version in headers.version if version not in LEGACY_VERSIONS]
    if unknown and MODERN_VERSION not in unknown:
        raise _unsupported(request, unknown[0])
    return bool(unknown)


def has_modern_meta(request: Request) -> bool:
    """Return whether the body alone claims the modern era, or one still to come."""
    meta = request.params.get("_meta")
    return isinstance(meta, dict) and VERSION_KEY in meta and meta[VERSION_KEY] not in LEGACY_VERSIONS


def check_modern(request: Request, headers: RoutingHeaders) -> None:
    """Raise a Fault unless the modern *request* and its headers are complete and say the same."""
    meta = request.params.get("_meta")
    meta = meta if isinstance(meta, dict) else {}
    version = meta.get(VERSION_KEY)
    missing = []
    if not isinstance(version, str):
        missing.append(VERSION_KEY)
    if not isinstance(meta.get(CAPABILITIES_KEY), dict):
        missing.append(CAPABILITIES_KEY)
    if missing:
        raise Fault(INVALID_PARAMS, f"Invalid params: _meta lacks {' and '.join(missing)}.", id_=request.id)
    _check_header(request, "MCP-Protocol-Version", headers.version, f"_meta {VERSION_KEY}", version)
    if version != MODERN_VERSION:
        raise _unsupported(request, str(version))
    _check_header(request, "Mcp-Method", headers.method, "method", request.method)
    name = request.params.get("name")
    # A call whose name is no string is told so by the dispatch, as in the legacy era.
    calls = request.method == "tools/call" and (isinstance(name, str) or not headers.name)
    if calls or len(headers.name) > 1:
        _check_header(request, "Mcp-Name", [_unwrapped(value) for value in headers.name], "params.name", name)


def _check_header(request: Request, header: str, values: Sequence[str | None], what: str, wanted: Any) -> None:
    if len(values) == 1 and values[0] == wanted:
        return
    if not values:
        reason = f"{header} is missing"
    elif len(values) > 1:
        reason = f"{header} is there {len(values)} times"
    else:
        reason = f"{header} is {_quoted(values[0])} but {what} is {_quoted(wanted)}"
    raise Fault(HEADER_MISMATCH, f"Header mismatch: {reason}.", id_=request.id)


def _quoted(value: Any) -> str:
    return f"'{shown(value)}'" if isinstance(value, str) else "not readable"


def _unwrapped(value: str) -> str | None:
    """Return what a header value stands for, which may be wrapped as Base64; None if the wrapping is broken."""
    start, end = _WRAPPED
    if not (value.startswith(start) and value.endswith(end) and len(value) >= len(start) + len(end)):
        return value
    encoded = value[len(start) : -len(end)]
    try:
        raw = base64.b64decode(encoded)
        return raw.decode() if base64.b64encode(raw).decode() == encoded else None
    except (binascii.Error, ValueError):
        return None


def _unsupported(request: Request, version: str) -> Fault:
    return Fault(
        UNSUPPORTED_VERSION,
        f"Unsupported protocol version: {shown(version)}. Supported is {MODERN_VERSION}; older clients begin "
        "with initialize.",
        id_=request.id,
        data={"supported": [MODERN_VERSION], "requested": shown(version)},
    )
