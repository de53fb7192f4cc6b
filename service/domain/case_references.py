"""What a case refers to: folders, lifecycle states, tags and environments of its project, checked together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.domain.tags import KnownTags, known_tags, tag_id, tag_names
from service.errors import NotFoundOrDenied
from service.sql import load

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from service.domain.work import Work

_SQL = load(__file__)

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
    tags: KnownTags
    environments: frozenset[int]

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
        """Return the ids of tags given by id or name, each once."""
        return self.tags.resolve(given)

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
    row = await work.connection.fetchrow(
        _SQL["case_references"],
        project_id,
        list(folders),
        [tag_id(tag) for tag in tags],
        tag_names(tags),
        list(environments),
    )
    assert row is not None  # noqa: S101 - it has no FROM
    states = row["lifecycle_states"]
    return References(
        folders=frozenset(row["folders"]),
        lifecycle_states=frozenset(state_id for state_id, _ in states),
        default_lifecycle_state=next(state_id for state_id, is_default in states if is_default),
        tags=await known_tags(work, "REPOSITORY", ids=row["tags"], named=dict(row["named_tags"]), asked=tags),
        environments=frozenset(row["environments"]),
    )
