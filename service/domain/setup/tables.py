"""The sections that are plain tables: fields, templates, statuses, lifecycle states, tags, environments, and the like.

One declaration for each, and the same few statements for all: what a table has is in the migrations, what may be said
of it in the document's models, and what cannot be is told by its constraints.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import asyncpg

from service.audit import Change
from service.domain.given import nearest, shown
from service.domain.setup.sections import Differences, Identity, Stored
from service.errors import Code, Refused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from service.domain.setup.document import Item
    from service.domain.work import Work

_NULLABLE = frozenset({"icon", "automation"})
#: How a document says that there is none, of what may be missing.
NOTHING = ("", "NONE")


def same(*names: str) -> dict[str, str]:
    """Return columns that are called as in the model."""
    return {name: name for name in names}


def without_nothing(element: dict[str, Any]) -> dict[str, Any]:
    """Return the element with only what it says."""
    return {name: value for name, value in element.items() if value is not None}


class Part(NamedTuple):
    """A list that an object has in a table of its own: the JSON of it, for the object *t*, and how it is stored."""

    read: str
    write: Callable[[Work, int, Any], Awaitable[None]]
    #: An element as it is stored, with what the document left unsaid.
    normal: Callable[[Any], Any]
    #: What names an element: one that the document leaves out is kept, disabled. Without it, it is removed.
    kept_by: str | None = None


@dataclass(frozen=True, kw_only=True)
class TableSection:
    """A section that is one table. *columns* are by the names in the model.

    *availability* is the column of project_availability that stands for it. There is one default among the objects
    that have the same value in column *default_among*, or in the table. *initial* tells what a new object has of which
    the document may be silent.
    """

    name: str
    noun: str
    model: type[Item]
    table: str
    columns: Mapping[str, str]
    availability: str | None = None
    default_among: str | None = None
    has_default: bool = False
    parts: Mapping[str, Part] = field(default_factory=dict)
    initial: Callable[[dict[str, Any]], dict[str, Any]] = lambda _said: {}
    needed: tuple[str, ...] = ()
    order: str = "t.id"

    @property
    def query(self) -> str:
        """Return the query for all objects, in no order."""
        shown_columns = [f't.{column} AS "{name}"' for name, column in self.columns.items()]
        if self.availability:
            shown_columns.append(
                "CASE WHEN t.all_projects THEN to_json('all'::text) ELSE coalesce((SELECT json_agg(p.name ORDER BY "
                "lower(p.name)) FROM project_availability a JOIN projects p ON p.id = a.project_id "
                f"WHERE a.{self.availability} = t.id), '[]') END AS projects"
            )
        shown_columns += [f"coalesce(({part.read}), '[]') AS \"{name}\"" for name, part in self.parts.items()]
        return f"SELECT t.id, {', '.join(shown_columns)} FROM {self.table} t"

    async def stored(self, work: Work) -> dict[Identity, Stored]:
        """Return all objects by what names them."""
        rows = await work.connection.fetch(f"{self.query} ORDER BY {self.order}")
        objects = [self._stored(row) for row in rows]
        return {tuple(value.lower() for value in one.key.values()): one for one in objects}

    def _stored(self, row: asyncpg.Record) -> Stored:
        values = {name: value for name, value in row.items() if name != "id" and value is not None}
        return Stored(id=row["id"], key={part: values.pop(part) for part in self.model.key}, values=values)

    def wanted(self, name: str, said: Any, stored: Any) -> Any:
        """Return the value that what is said comes to."""
        if name == "projects" and said != "all":
            return sorted(set(said), key=str.lower)
        part = self.parts.get(name)
        if part is None:
            return said
        elements = [part.normal(one) for one in said]
        if part.kept_by is None:
            return elements
        listed = {one[part.kept_by] for one in elements}
        return elements + [{**one, "enabled": False} for one in stored or [] if one[part.kept_by] not in listed]

    async def create(self, work: Work, item: Item) -> int:
        """Insert the object."""
        said = {**item.said(), **{part: getattr(item, part) for part in item.key}}
        if missing := [name for name in self.needed if name not in said]:
            raise Refused(Code.INVALID_VALUE, f"A new {self.noun} needs {' and '.join(missing)}.")
        values = {**self.initial(said), **{name: self.wanted(name, value, None) for name, value in said.items()}}
        columns = {self.columns[name]: value for name, value in values.items() if name in self.columns}
        default = columns.pop("is_default", None)
        if "projects" in values:
            columns["all_projects"] = values["projects"] == "all"
        if "position" in self.columns and "position" not in columns:
            last = f"SELECT coalesce(max(t.position) + 1, 0) FROM {self.table} t"
            columns["position"] = await work.connection.fetchval(last)
        placeholders = ", ".join(f"${number}" for number in range(1, len(columns) + 1))
        with _refusing(self.noun):
            object_id: int = await work.connection.fetchval(
                f"INSERT INTO {self.table} ({', '.join(columns)}) VALUES ({placeholders}) RETURNING id",
                *self._values(columns),
            )
            work.changes.append(Change(action="create", object_type=self.noun.replace(" ", "_"), object_id=object_id))
            await self._set_beside(work, object_id, values)
            if default:
                await self._make_default(work, object_id)
        return object_id

    async def change(self, work: Work, stored: Stored, values: Mapping[str, Any]) -> Differences:
        """Update the object; one said otherwise (in another order, in capitals) may be the same once it is stored."""
        fixed = [name for name in values if name in self.model.fixed]
        if fixed:
            raise Refused(Code.INVALID_VALUE, f"The {fixed[0].replace('_', ' ')} of a {self.noun} never changes.")
        columns = {self.columns[name]: value for name, value in values.items() if name in self.columns}
        default = columns.pop("is_default", None)
        if default is False:
            raise Refused(
                Code.INVALID_STATE, "This is the default, and one must be: make another one the default instead."
            )
        if "projects" in values:
            columns["all_projects"] = values["projects"] == "all"
        with _refusing(self.noun):
            if default:
                await self._make_default(work, stored.id)
            if columns:
                settings = ", ".join(f"{column} = ${number}" for number, column in enumerate(columns, start=2))
                await work.connection.execute(
                    f"UPDATE {self.table} SET {settings} WHERE id = $1", stored.id, *self._values(columns)
                )
            await self._set_beside(work, stored.id, values)
        [row] = await work.connection.fetch(f"{self.query} WHERE t.id = $1", stored.id)
        now = self._stored(row)
        old, new = stored.values | stored.key, now.values | now.key
        differences = {name: (old.get(name), new.get(name)) for name in values if old.get(name) != new.get(name)}
        if differences:
            details = {name: {"from": before, "to": after} for name, (before, after) in differences.items()}
            work.changes.append(
                Change(action="update", object_type=self.noun.replace(" ", "_"), object_id=stored.id, details=details)
            )
        return differences

    def _values(self, columns: Mapping[str, Any]) -> list[Any]:
        return [None if column in _NULLABLE and value in NOTHING else value for column, value in columns.items()]

    async def _set_beside(self, work: Work, object_id: int, values: Mapping[str, Any]) -> None:
        """Store what is in other tables: where the object is available, and its parts."""
        if "projects" in values:
            await self._make_available(work, object_id, values["projects"])
        for name, part in self.parts.items():
            if name in values:
                await part.write(work, object_id, values[name])

    async def _make_available(self, work: Work, object_id: int, projects: Any) -> None:
        await work.connection.execute(f"DELETE FROM project_availability WHERE {self.availability} = $1", object_id)
        if projects != "all":
            found = await ids_named(work, "projects", projects, "project")
            await work.connection.execute(
                f"INSERT INTO project_availability (project_id, {self.availability}) "
                "SELECT p, $1 FROM unnest($2::bigint[]) p",
                object_id,
                found,
            )

    async def _make_default(self, work: Work, object_id: int) -> None:
        """Make it the default, and enabled; the old one first: at no time may there be two."""
        among = self.default_among
        same = f"AND d.{among} = (SELECT n.{among} FROM {self.table} n WHERE n.id = $1)" if among else "AND $1 > 0"
        await work.connection.execute(
            f"UPDATE {self.table} d SET is_default = false WHERE d.is_default {same}", object_id
        )
        await work.connection.execute(
            f"UPDATE {self.table} SET is_default = true, enabled = true WHERE id = $1", object_id
        )


async def ids_named(work: Work, table: str, names: list[str], noun: str) -> list[int]:
    """Return the ids of these names in *table*, in their order; raise Refused with the nearest name for a wrong one."""
    known = {row["name"]: row["id"] for row in await work.connection.fetch(f"SELECT id, name FROM {table}")}
    by_lower = {name.lower(): object_id for name, object_id in known.items()}
    for name in names:
        if name.lower() not in by_lower:
            raise Refused(Code.INVALID_VALUE, f"There is no {noun} {shown(name)}. {nearest(name, known)}")
    return [by_lower[name.lower()] for name in names]


@contextmanager
def _refusing(noun: str) -> Iterator[None]:
    """Raise Refused with what a constraint or a type stands for."""
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        raise Refused(Code.INVALID_VALUE, f"There is a {noun} of this name already, in capitals or not.") from error
    except asyncpg.CheckViolationError as error:
        rule = _RULES.get(error.constraint_name or "", f"it breaks the rule {error.constraint_name}")
        raise Refused(Code.INVALID_VALUE, f"This {noun} cannot be stored: {rule}.") from error
    except asyncpg.NotNullViolationError as error:
        raise Refused(Code.INVALID_VALUE, f"A new {noun} needs its {error.column_name}.") from error
    except asyncpg.ForeignKeyViolationError as error:
        raise Refused(Code.INVALID_VALUE, f"This {noun} refers to something that is not there.") from error


_RULES = {
    "statuses_initial_always_there_check": "the initial status is enabled in all projects and has no flags",
    "templates_default_enabled_check": "the default is always enabled; make another one the default first",
    "lifecycle_states_default_enabled_check": "the default is always enabled; make another one the default first",
    "cycle_types_default_enabled_check": "the default is always enabled; make another one the default first",
    "relations_default_enabled_check": "the default is always enabled; make another one the default first",
    "lifecycle_states_include_in_runs_check": "only states of cases are included in runs",
    "lifecycle_states_automation_of_runs_check": "only states of runs have an automation",
    "fields_steps_on_cases_check": "steps are of cases",
    "field_options_type_check": "only DROPDOWN and MULTI_SELECT have options",
    "field_slots_type_check": "only STEPS has slots",
}
