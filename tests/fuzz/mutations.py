"""Right calls with something changed in them."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from tests.fuzz.strategies import NASTY_NUMBERS, NASTY_TEXTS
from tests.tools.conftest import SORTS, example, sort_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from random import Random

    from service.tools.registry import Tool

_NASTY = (None, True, False, [], {}, [[]], [None], {"": None}, *NASTY_NUMBERS, *NASTY_TEXTS)
_BYTES = (b"\x00", b"\xff", b"{", b"}", b"[", b"]", b'"', b"\\", b"\\u", b",", b":", b"1e999", b"-", b"null", b"\n")


def right_arguments(tool: Tool, ids: Mapping[str, int]) -> dict[str, Any]:
    """Return the example of a tool with ids that there are."""

    def put(value: Any, name: str) -> Any:
        if isinstance(value, dict):
            return {key: put(inner, key) for key, inner in value.items()}
        if isinstance(value, list):
            return [put(inner, name) for inner in value]
        if name == "project":
            return ids["project"]
        return ids[sort_of(tool, name)] if name in SORTS and isinstance(value, int) else value

    return put(example(tool), "")


def mutated(random: Random, arguments: Any) -> Any:
    """Return *arguments* with one value replaced, left out, doubled or nested somewhere."""
    changed = copy.deepcopy(arguments)
    places = [(None, None), *_places(changed)]
    holder, key = random.choice(places)
    if holder is None:
        if not isinstance(changed, dict):
            return changed
        return random.choice(_NASTY) if random.random() < 0.1 else changed | {random.choice(sorted(SORTS)): 1}
    match random.randrange(5):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, list):
            holder.extend([holder[key]] * random.choice((1, 3, 700)))
        case 2:
            holder[key] = random.choice(([holder[key]], {"value": holder[key]}, str(holder[key])))
        case _:
            holder[key] = random.choice(_NASTY)
    return changed


def _places(value: Any) -> list[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = []
    for key, inner in list(items):
        found += [(value, key), *_places(inner)]
    return found


def mutated_bytes(random: Random, body: bytes) -> bytes:
    """Return *body* with one to three pieces cut, doubled or put in."""
    for _ in range(random.randint(1, 3)):
        start = random.randrange(len(body) + 1)
        end = min(len(body), start + random.choice((0, 1, 1, 2, 8, 1_000)))
        put = random.choice((b"", random.choice(_BYTES), body[start:end] * 2, random.randbytes(2)))
        body = body[:start] + put + body[end:]
    return body
