"""Templates, and the static files that they name by what is in them, so that browsers may keep them for ever."""

from __future__ import annotations

import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup
from quart import Response

from service.web.addresses import STATIC
from service.web.sessions import CSRF_FIELD, csrf_token

_HERE = Path(__file__).parent
_FOREVER = "public, max-age=31536000, immutable"
_DIGEST_LENGTH = 12


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file as it is sent, and a digest of its content."""

    content: bytes
    content_type: str
    digest: str


def _read(path: Path) -> StaticFile:
    content = path.read_bytes()
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    text = kind.startswith("text/") or kind == "image/svg+xml"
    return StaticFile(
        content, f"{kind}; charset=utf-8" if text else kind, hashlib.sha256(content).hexdigest()[:_DIGEST_LENGTH]
    )


_FILES = {path.name: _read(path) for path in sorted((_HERE / "static").iterdir()) if path.is_file()}


def static(name: str) -> str:
    """Return the path of a static file."""
    return f"{STATIC}{_FILES[name].digest}/{name}"


def static_answer(digest: str, name: str) -> Response | None:
    """Return the file. What another release's page asks for gets ours, and is not kept."""
    found = _FILES.get(name)
    if found is None:
        return None
    kept = _FOREVER if digest == found.digest else "no-cache"
    return Response(found.content, content_type=found.content_type, headers={"Cache-Control": kept})


def _csrf_field() -> Markup:
    return Markup('<input type="hidden" name="{}" value="{}">').format(CSRF_FIELD, csrf_token())


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


#: Modules of pages add the filters and functions of their templates.
environment = Environment(
    loader=FileSystemLoader(_HERE / "templates"), autoescape=True, trim_blocks=True, lstrip_blocks=True
)
environment.globals |= {"static": static, "csrf_field": _csrf_field, "plural": _plural}
