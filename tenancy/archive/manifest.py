"""What an archive says of itself: its manifest, read strictly, because an archive can come from anybody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic.alias_generators import to_camel

from migrations.trees import Tree, known
from tenancy.catalog import check_line
from tenancy.errors import TenancyError

if TYPE_CHECKING:
    from collections.abc import Iterator

FORMAT = "testorchestrator-workspace"
FORMAT_VERSION = 1

_Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
_Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$")]
_Line = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,100}$")]
_Count = Annotated[int, Field(ge=0, lt=2**63)]


class ArchiveRefused(TenancyError):  # noqa: N818 - says what happened to it
    """The file is no archive, or not one that can be trusted or understood: nothing of it was used."""


class _Part(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", strict=True, frozen=True)


class Content(_Part):
    """The rows of one table. *size*, in bytes, and *sha256* are of the unpacked member, its header line included."""

    columns: Annotated[tuple[_Name, ...], Field(min_length=1)]
    rows: _Count
    size: _Count
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]

    @property
    def header(self) -> bytes:
        """The first line of the member."""
        return header_of(self.columns)

    def is_same(self, other: Content) -> bool:
        """Return whether these are the same rows of the same columns."""
        return (self.columns, self.rows, self.size, self.sha256) == (
            other.columns, other.rows, other.size, other.sha256,
        )  # fmt: skip


class TableContent(Content):
    """The rows of the table *name*."""

    name: _Name

    @property
    def member(self) -> str:
        """The file within the archive."""
        return f"tables/{self.name}.tsv"


class SequenceValue(_Part):
    """Where a sequence stands, in the words of PostgreSQL."""

    name: _Name
    last_value: Annotated[int, Field(ge=-(2**63), lt=2**63)]
    is_called: bool


class Origin(_Part):
    """The workspace that was backed up."""

    slug: _Slug
    name: _Line
    state: Literal["active", "suspended", "deleting"]


class Manifest(_Part):
    """Everything about an archive but the rows."""

    format: Literal["testorchestrator-workspace"] = "testorchestrator-workspace"
    format_version: Literal[1] = 1
    product_version: _Line
    server_version: _Line
    created_at: AwareDatetime
    workspace: Origin
    schema_revision: _Line
    tables: tuple[TableContent, ...]
    sequences: tuple[SequenceValue, ...]
    #: None: the archive was made without the keys.
    keys: Content | None

    @property
    def rows(self) -> int:
        """All rows of the workspace's tables."""
        return sum(table.rows for table in self.tables)

    @property
    def size(self) -> int:
        """The size of all rows when they are unpacked, keys included."""
        return sum(content.size for _, content in self.members())

    def members(self) -> Iterator[tuple[str, Content]]:
        """Yield each file of rows in the archive with what it must hold."""
        for table in self.tables:
            yield table.member, table
        if self.keys is not None:
            yield KEYS_MEMBER, self.keys

    def to_json(self) -> bytes:
        """Return the manifest as it is stored, for people to read too."""
        return orjson.dumps(self.model_dump(mode="json", by_alias=True), option=orjson.OPT_INDENT_2) + b"\n"


KEYS_MEMBER = "keys.tsv"
MANIFEST_MEMBER = "manifest.json"


def header_of(columns: tuple[str, ...]) -> bytes:
    """Return the line that names the columns of a file of rows."""
    return "\t".join(columns).encode() + b"\n"


def read_manifest(document: bytes) -> Manifest:
    """Return the manifest; raise ArchiveRefused for one that is not ours, newer, or not as the format says."""
    try:
        raw: Any = orjson.loads(document)
    except orjson.JSONDecodeError as error:
        raise ArchiveRefused(f"{NOT_OURS} its manifest is no JSON.") from error
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        raise ArchiveRefused(f"{NOT_OURS} its manifest is another program's.")
    # Before all else: a newer format may have another idea of every other field.
    version = raw.get("formatVersion")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise ArchiveRefused(
            f"The archive has format {version}, this release knows formats up to {FORMAT_VERSION}: run a newer release."
        )
    try:
        manifest = Manifest.model_validate_json(document)
        check_line(manifest.workspace.name, "display name")
    except (ValidationError, TenancyError) as error:
        # Without the value, which can be anything: it would go to a terminal.
        where = ".".join(map(str, error.errors()[0]["loc"])) if isinstance(error, ValidationError) else "workspace.name"
        raise ArchiveRefused(f"The archive's manifest is not as the format says, in {where!a}.") from None
    if manifest.schema_revision not in known(Tree.WORKSPACE):
        raise ArchiveRefused(
            f"The archive has schema revision {manifest.schema_revision!a}, which this release does not know: "
            "run a newer release."
        )
    for what in (manifest.tables, manifest.sequences):
        if len({one.name for one in what}) != len(what):
            raise ArchiveRefused("The archive's manifest names something twice.")
    for _, content in manifest.members():
        if len(set(content.columns)) != len(content.columns):
            raise ArchiveRefused("The archive's manifest names a column twice.")
    return manifest


NOT_OURS = "The file is no archive of a workspace:"
