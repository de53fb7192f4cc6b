"""What a case refers to: folders, lifecycle states, tags and environments of its project, checked together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.errors import Code, NotFoundOrDenied, Refused
from service.sql import load

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from service.domain.work import Work

_SQL = load(__file__)
_LONGEST_ID = 18
_SHOWN = 30

#: A case by its id, or by its number as text such as `C-12`.
CaseRef = int | str


def split_refs(refs: Iterable[CaseRef]) -> tuple[list[int], list[int]]:
    """Return the ids and the numbers among *refs*."""
    refs = list(refs)
    return [ref for ref in refs if isinstance(ref, int)], [int(ref[2:]) for ref in refs if isinstance(ref, str)]


@dataclass(frozen=True, slots=True, kw_only=True)
class References:
    """The objects that exist in the project, of those that were asked for."""

    folders: frozenset[int]
    lifecycle_states: frozenset[int]
    default_lifecycle_state: int
    tags: frozenset[int]
    named_tags: dict[str, int]
    environments: frozenset[int]
    tag_names: str

    def folder(self, folder_id: int) -> int | None:
        """Return the folder to store: None for 0, the root."""
        if folder_id and folder_id not in self.folders:
            raise NotFoundOrDenied
        return folder_id or None

    def lifecycle_state(self, state_id: int | None) -> int:
        """Return the state to store: the default where none is given."""
        if state_id is None:
            return self.default_lifecycle_state
        if state_id not in self.lifecycle_states:
            raise NotFoundOrDenied
        return state_id

    def tag_list(self, given: Sequence[int | str]) -> list[int]:
        """Return the ids of tags given by id or name, each once. Digits as text are a name if there is such a tag."""
        known = self.tags.union(self.named_tags.values())
        found, unknown = [], []
        for tag in given:
            tag_id = tag if isinstance(tag, int) else self.named_tags.get(tag.strip(), _as_id(tag))
            if tag_id in known:
                found.append(tag_id)
            elif isinstance(tag, int):
                raise NotFoundOrDenied
            else:
                unknown.append(repr(tag[:60]))
        if unknown:
            raise Refused(
                Code.INVALID_VALUE,
                f"There is no tag {', '.join(unknown)}. Tags for cases: {self.tag_names}.",
                field="tags",
            )
        return list(dict.fromkeys(found))

    def environment_list(self, given: Sequence[int]) -> list[int]:
        """Return *given*, each once."""
        if not self.environments.issuperset(given):
            raise NotFoundOrDenied
        return list(dict.fromkeys(given))


async def load_references(
    work: Work,
    project_id: int,
    *,
    folders: Collection[int] = (),
    tags: Collection[int | str] = (),
    environments: Collection[int] = (),
) -> References:
    """Look up what is asked for among the project's objects, and its lifecycle states for cases."""
    names = {tag.strip() for tag in tags if isinstance(tag, str)}
    row = await work.connection.fetchrow(
        _SQL["case_references"],
        project_id,
        list(folders),
        [_as_id(tag) for tag in tags],
        list(names),
        list(environments),
    )
    assert row is not None  # noqa: S101 - it has no FROM
    states = row["lifecycle_states"]
    named_tags = dict(row["named_tags"])
    return References(
        folders=frozenset(row["folders"]),
        lifecycle_states=frozenset(state_id for state_id, _ in states),
        default_lifecycle_state=next(state_id for state_id, is_default in states if is_default),
        tags=frozenset(row["tags"]),
        named_tags=named_tags,
        environments=frozenset(row["environments"]),
        tag_names=await _tag_names(work) if names - named_tags.keys() else "",
    )


def _as_id(tag: int | str) -> int:
    """Return the id that *tag* is, or one that no tag has."""
    if isinstance(tag, int):
        return tag
    return int(tag) if tag.isascii() and tag.isdigit() and len(tag) <= _LONGEST_ID else -1


async def _tag_names(work: Work) -> str:
    names = [row["name"] for row in await work.connection.fetch(_SQL["tag_names"], _SHOWN + 1)]
    if len(names) > _SHOWN:
        return f"{', '.join(names[:_SHOWN])} and more (get_tags lists all)"
    return ", ".join(names) or "none yet"
