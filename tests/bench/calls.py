"""The calls that are measured, as whole HTTP requests over all workspaces and keys."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bench.world import Place

#: Different requests of one kind: enough that no workspace, key or case is always the same.
VARIETY = 1_000
_QUERIES = ("cart price", "voucher", "refund card", "mail order", "login")


def http_request(
    port: int, method: str, params: dict[str, Any], key: str | None = None, *, modern: bool = False
) -> str:
    """Return a POST as it goes over the wire, of the era of handshakes or of the *modern* one."""
    version = "2026-07-28" if modern else "2025-11-25"
    headers = {
        "Host": f"127.0.0.1:{port}",
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": version,
    }
    if modern:
        prefix = "io.modelcontextprotocol/"
        params = {**params, "_meta": {f"{prefix}protocolVersion": version, f"{prefix}clientCapabilities": {}}}
        headers |= {"Mcp-Method": method, "Mcp-Name": params["name"]}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}, separators=(",", ":"))
    headers["Content-Length"] = str(len(body))
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST /mcp HTTP/1.1\r\n{head}\r\n{body}"


def _read(place: Place, dice: random.Random) -> tuple[str, dict[str, Any]]:
    return "get_test_case", {"caseId": f"C-{dice.randint(1, place.cases)}"}


def _list(_place: Place, _dice: random.Random) -> tuple[str, dict[str, Any]]:
    return "list_test_cases", {"limit": 50}


def _search(_place: Place, dice: random.Random) -> tuple[str, dict[str, Any]]:
    return "search_test_cases", {"query": dice.choice(_QUERIES)}


def _write(place: Place, dice: random.Random) -> tuple[str, dict[str, Any]]:
    case = f"C-{dice.randint(1, place.cases)}"
    return "record_test_result", {"runId": place.run, "caseId": case, "statusId": "Passed", "elapsedSeconds": 30}


def _bulk(place: Place, dice: random.Random) -> tuple[str, dict[str, Any]]:
    cases = dice.sample(range(1, place.cases + 1), min(100, place.cases))
    return "record_test_results", {
        "runId": place.run,
        "results": [{"caseId": f"C-{case}", "statusId": "Passed"} for case in cases],
    }


#: What is asked for, by the name that the tables give it.
CALLS: dict[str, Callable[[Place, random.Random], tuple[str, dict[str, Any]]]] = {
    "read one case": _read,
    "list 50 cases": _list,
    "search": _search,
    "record a result": _write,
    "record 100 results": _bulk,
}
#: An agent's work: of ten calls, so many are of these kinds.
MIX = {"read one case": 6, "list 50 cases": 1, "search": 1, "record a result": 2}
MIXED = "a mix of these"


def messages(name: str, port: int, places: list[Place], *, variety: int = VARIETY, modern: bool = False) -> list[str]:
    """Return so many requests of the kind *name*, over all places and keys at random, the same in every run."""
    dice = random.Random(name)  # noqa: S311 - a load, not a secret
    kinds = dice.choices(list(MIX), list(MIX.values()), k=variety) if name == MIXED else [name] * variety
    made = []
    for kind in kinds:
        place = dice.choice(places)
        key = dice.choice(place.keys)
        if kind == "tools/list":
            made.append(http_request(port, "tools/list", {}, key))
        else:
            tool, arguments = CALLS[kind](place, dice)
            params = {"name": tool, "arguments": {"project": place.project, **arguments}}
            made.append(http_request(port, "tools/call", params, key, modern=modern))
    return made
