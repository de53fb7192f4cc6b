"""Tags given by id or by name: of cases (REPOSITORY) or of runs (RUNS), two independent sets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.errors import Code, NotFoundOrDenied, Refused
from service.sql import load

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from service.domain.work import Work

_SQL = load(__file__)
_LONGEST_ID = 18
_SHOWN = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownTags:
    """The tags that exist of those asked for, by id and by the name given; *all_names* tells what there is."""

    ids: frozenset[int]
    named: Mapping[str, int]
    all_names: str

    def resolve(self, given: Sequence[int | str], *, argument: str = "tags") -> list[int]:
        """Return the ids of *given*, each once. Digits as text are a name if there is such a tag."""
        known = self.ids.union(self.named.values())
        found, unknown = [], []
        for tag in given:
            candidate = tag if isinstance(tag, int) else self.named.get(tag.strip(), tag_id(tag))
            if candidate in known:
                found.append(candidate)
            elif isinstance(tag, int):
                raise NotFoundOrDenied
            else:
                unknown.append(repr(tag[:60]))
        if unknown:
            message = f"There is no tag {', '.join(unknown)}. {self.all_names}."
            raise Refused(Code.INVALID_VALUE, message, field=argument)
        return list(dict.fromkeys(found))


def tag_id(tag: int | str) -> int:
    """Return the id that *tag* may be, or one that no tag has."""
    if isinstance(tag, int):
        return tag
    return int(tag) if tag.isascii() and tag.isdigit() and len(tag) <= _LONGEST_ID else -1


def tag_names(tags: Iterable[int | str]) -> list[str]:
    """Return the names among *tags*, as they are looked up."""
    return list({tag.strip() for tag in tags if isinstance(tag, str)})


async def known_tags(
    work: Work, context: str, *, ids: Iterable[int], named: Mapping[str, int], asked: Collection[int | str]
) -> KnownTags:
    """Return what a query found of the tags *asked* for; the names of all are fetched only if one is unknown."""
    all_names = "" if named.keys() >= set(tag_names(asked)) else await _all_names(work, context)
    return KnownTags(ids=frozenset(ids), named=named, all_names=all_names)


async def _all_names(work: Work, context: str) -> str:
    names = [row["name"] for row in await work.connection.fetch(_SQL["names"], context, _SHOWN + 1)]
    kind = "cases" if context == "REPOSITORY" else "runs"
    listed = ", ".join(names[:_SHOWN]) or "none yet"
    return f"Tags for {kind}: {listed}" + (" and more (get_tags lists all)" if len(names) > _SHOWN else "")
