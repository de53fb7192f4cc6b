"""The column shapes that several tables share, and the naming of constraints.

Constraint names are part of the interface: the domain tells by them which rule a write broke.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Integer,
    MetaData,
    String,
    text,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

NAMING = {
    "pk": "%(table_name)s_pkey",
    "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
    "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    "ck": "%(table_name)s_%(constraint_name)s_check",
}

#: Every column of a table, to may().
ALL = ("*",)

# Who acts in the transaction, and by what: set in the message that enters the workspace, out of the reach of queries.
# A setting that no transaction has set yet is null, and one that an earlier transaction had is empty.
ACTING_USER = "nullif(current_setting('testorchestrator.user_id', true), '')::bigint"
ACTING_KEY = "nullif(current_setting('testorchestrator.api_key_id', true), '')::bigint"
ACTING_TOOL = "nullif(current_setting('testorchestrator.tool', true), '')"


def may(*, insert: Sequence[str] = (), update: Sequence[str] = (), delete: bool = False) -> dict[str, Any]:
    """Return what a workspace's role may do with a table beside reading it: which columns it may give and change.

    It is what the statements of the product do, and no more. A column that is not in *insert* has its default.
    """
    by_column = {"INSERT": insert, "UPDATE": update}
    written = [
        verb if columns == ALL else f"{verb} ({', '.join(columns)})" for verb, columns in by_column.items() if columns
    ]
    return {"privileges": ", ".join(["SELECT", *written, *(["DELETE"] if delete else [])])}


def metadata() -> MetaData:
    """Return an empty collection of tables with our constraint names."""
    return MetaData(naming_convention=NAMING)


def id_column() -> Column[int]:
    """Return the primary key that draws on the workspace's one sequence, so that no two objects share an id."""
    return Column("id", BigInteger, primary_key=True, server_default=text("nextval('ids')"))


def reference(
    name: str, target: str, *, key: bool = False, nullable: bool = False, index: bool = False, **options: Any
) -> Column[int]:
    """Return a foreign key column *name* to *target* (`table.column`); with *key*, a part of the primary key."""
    return Column(
        name, BigInteger, ForeignKey(target, **options), primary_key=key, nullable=nullable, index=index or None
    )


def acting_user(name: str, *, nullable: bool = False) -> Column[int]:
    """Return a column for the user who acts, which no statement need say."""
    return Column(name, BigInteger, ForeignKey("users.id"), nullable=nullable, server_default=text(ACTING_USER))


def acting_key() -> Column[int]:
    """Return a column for the API key that the acting user acts with, if they do, which no statement need say."""
    return Column("api_key_id", BigInteger, nullable=True, server_default=text(ACTING_KEY))


def bigint(name: str, *, key: bool = False, nullable: bool = False) -> Column[int]:
    """Return an id column whose foreign key spans several columns and is declared apart."""
    return Column(name, BigInteger, primary_key=key, nullable=nullable, autoincrement=False)


def string(name: str, length: int, *, nullable: bool = False, default: str | None = None) -> Column[str]:
    """Return a text column of at most *length* characters; short ones spare the table a TOAST table."""
    quoted = None if default is None else text(f"'{default}'")
    return Column(name, String(length), nullable=nullable, server_default=quoted)


def timestamp(name: str, *, nullable: bool = False) -> Column[Any]:
    """Return a point in time; it defaults to the transaction's start unless it may be absent."""
    default = None if nullable else text("now()")
    return Column(name, DateTime(timezone=True), nullable=nullable, server_default=default)


def version() -> Column[int]:
    """Return the counter that each change of the row raises by one, for `expectedVersion`."""
    return Column("version", Integer, nullable=False, server_default=text("1"))


def flag(name: str, *, default: bool = False) -> Column[bool]:
    """Return a boolean column that is never null."""
    return Column(name, Boolean, nullable=False, server_default=text("true" if default else "false"))


def one_of(column: str, values: Iterable[str]) -> CheckConstraint:
    """Return the rule that *column* holds one of *values*: text with a check, since an enum's OID differs by schema."""
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


def not_blank(column: str) -> CheckConstraint:
    """Return the rule that *column* is more than white space."""
    return CheckConstraint(f"btrim({column}) <> ''", name=f"{column}_not_blank")
