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
    tags: dict[int, str]
    tag_ids: dict[str, int]
    environments: frozenset[int]
    all_tags: tuple[str, ...]

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
        found = []
        for tag in given:
            if isinstance(tag, int):
                if tag not in self.tags:
                    raise NotFoundOrDenied
                found.append(tag)
            elif (tag_id := self.tag_ids.get(tag.strip().lower())) is not None:
                found.append(tag_id)
            else:
                known = ", ".join(self.all_tags) or "none yet"
                raise Refused(
                    Code.INVALID_VALUE, f"There is no tag {tag[:60]!r}. Tags for cases: {known}.", field="tags"
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
    names = {tag.strip().lower() for tag in tags if isinstance(tag, str)}
    row = await work.connection.fetchrow(
        _SQL["case_references"],
        project_id,
        list(folders),
        [tag for tag in tags if isinstance(tag, int)],
        list(names),
        list(environments),
    )
    if row is None:
        raise NotFoundOrDenied
    states = row["lifecycle_states"]
    found = {name: tag_id for tag_id, name in row["tags"]}
    all_tags: tuple[str, ...] = ()
    if names - found.keys():
        all_tags = tuple(tag["name"] for tag in await work.connection.fetch(_SQL["tag_names"]))
    return References(
        folders=frozenset(row["folders"]),
        lifecycle_states=frozenset(state_id for state_id, _ in states),
        default_lifecycle_state=next(state_id for state_id, is_default in states if is_default),
        tags={tag_id: name for name, tag_id in found.items()},
        tag_ids=found,
        environments=frozenset(row["environments"]),
        all_tags=all_tags,
    )
