"""Passwords: which may be used, and their hashes. What is stored of them is tenancy's."""

from __future__ import annotations

import asyncio
import base64
import re
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.low_level import hash_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Result = TypeVar("Result")

SHORTEST, LONGEST = 12, 100
RULE = (
    f"{SHORTEST} to {LONGEST} characters, with an upper-case letter, a lower-case letter, a digit and a special "
    "character; nothing that everybody tries first."
)
# RFC 9106's second choice: 64 MiB and three passes.
_HASHER = PasswordHasher()
# Each of them takes its 64 MiB, and a processor.
_THREADS = ThreadPoolExecutor(4, thread_name_prefix="passwords")
_WANTED = (
    (r"[A-Z]", "an upper-case letter"),
    (r"[a-z]", "a lower-case letter"),
    (r"[0-9]", "a digit"),
    (r"[^A-Za-z0-9]", "a special character"),
)
# A word, and so few other letters with it, is nearly the word alone.
_SHORTEST_WORD, _FEW = 3, 4
_LEET = str.maketrans("013457@$!", "oieastasi")
# What is left of most that people choose where the rules force digits and signs on them.
_COMMON = frozenset(Path(__file__).with_name("common_passwords.txt").read_text().split())


def password_fault(password: str, *, about: Iterable[str] = ()) -> str:
    """Return what is wrong with a new password, empty if nothing is. *about* are words that anybody would guess."""
    if not SHORTEST <= len(password) <= LONGEST:
        return f"Use {SHORTEST} to {LONGEST} characters; this has {len(password)}."
    if missing := [what for pattern, what in _WANTED if not re.search(pattern, password)]:
        return f"Add {', '.join(missing)}."
    guessed = {word for text in about if len(word := _letters(text)) >= _SHORTEST_WORD} | _COMMON
    core = re.sub(r"^[^A-Za-z]+|[^A-Za-z]+$", "", password)
    tried = (_letters(core), _letters(core.translate(_LEET)))
    is_word = any(word in letters and len(letters) - len(word) < _FEW for word in guessed for letters in tried)
    if is_word or len(set(password.lower())) <= _FEW:
        return "This is one of the first that anybody would try: choose another."
    return ""


def _letters(text: str) -> str:
    return re.sub(r"[^a-z]", "", text.lower())


async def hash_password(password: str) -> str:
    """Return what is stored of *password*: argon2id, which takes a tenth of a second."""
    return await _in_thread(_HASHER.hash, _bytes(password))


async def is_password(password: str, stored: str) -> bool:
    """Return whether *password* is the one that *stored* is the hash of."""
    return await _in_thread(_verify, stored, _bytes(password))


async def hash_again(password: str, salt: str | None) -> str:
    """Return what is stored if *password* is the one whose salt that is; with None, something else by the same work.

    *salt* is the stored hash up to its last `$`.
    """
    return await _in_thread(_hash_with, salt or _without_digest(_nobodys()), _bytes(password))


def prepare() -> None:
    """Do once what the first refusal would otherwise take twice as long for."""
    _nobodys()


def _hash_with(salt: str, password: bytes) -> str:
    digest = "A" * len(_nobodys().rpartition("$")[2])
    used = extract_parameters(f"{salt}${digest}")
    encoded = salt.rpartition("$")[2]
    return hash_secret(
        password,
        base64.b64decode(encoded + "=" * (-len(encoded) % 4)),
        time_cost=used.time_cost,
        memory_cost=used.memory_cost,
        parallelism=used.parallelism,
        hash_len=used.hash_len,
        type=used.type,
        version=used.version,
    ).decode()


def _without_digest(stored: str) -> str:
    return stored.rpartition("$")[0]


def _verify(stored: str, password: bytes) -> bool:
    try:
        return _HASHER.verify(stored, password)
    except (VerificationError, InvalidHashError):
        return False


@cache
def _nobodys() -> str:
    return _HASHER.hash("nobody's")


def _bytes(password: str) -> bytes:
    return password.encode("utf-8", "surrogatepass")


async def _in_thread(work: Callable[..., Result], *arguments: object) -> Result:
    return await asyncio.get_running_loop().run_in_executor(_THREADS, work, *arguments)
