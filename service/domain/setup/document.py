"""The document of a workspace's configuration: its sections, what an object of each has, and what may be written there.

What a document does not mention stays as it is. A list within an object (options, members, …) is the whole list.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

_LINE = r"^[^\x00-\x1f\x7f]*\S[^\x00-\x1f\x7f]*$"


Name = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=_LINE, strip_whitespace=True)]
LongName = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=_LINE, strip_whitespace=True)]
Text = Annotated[str, StringConstraints(max_length=500, pattern=r"^[^\x00]*$")]
Color = Annotated[str, StringConstraints(pattern=r"^#[0-9a-fA-F]{6}$", to_lower=True)]
Icon = Annotated[str, StringConstraints(max_length=50, pattern=r"^[^\x00-\x1f]*$")]
Position = Annotated[int, Field(ge=0, le=32_000)]
Context = Literal["REPOSITORY", "RUNS"]
Projects = Literal["all"] | list[Name]
System = Literal["JIRA", "LINEAR", "GITHUB", "GITLAB", "AZURE_DEVOPS", "CUSTOM"]
SlotName = Literal["step", "expectedResult", "actualResult", "notes"]
FieldType = Literal[
    "TEXT", "STRING", "INTEGER", "FLOAT", "DATE", "CHECKBOX", "LINK", "DROPDOWN", "MULTI_SELECT", "STEPS"
]

_PROJECTS = Field(default=None, description="Projects that have it, by name; repeat for more; all: every project.")
_DEFAULT = Field(default=None, description="Make it the default, in place of the present one.")
_ENABLED = Field(default=None, description="Offered for new work; what is disabled stays where it is used.")
_COLOR = Field(default=None, description="Hex colour, such as #1a7f37.")
_ICON = Field(default=None, description="Name of an icon; empty: none.")
_POSITION = Field(default=None, description="Place in lists, from 0.")


class Part(BaseModel):
    """Something that a document may say; other keys are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel, populate_by_name=True)


class Item(Part):
    """An object of a section: *key* names it, what is *fixed* never changes. What is None is not mentioned."""

    key: ClassVar[tuple[str, ...]] = ("name",)
    fixed: ClassVar[frozenset[str]] = frozenset()

    def identity(self) -> tuple[str, ...]:
        """Return what names the object, in small letters: capitals make no other name."""
        return tuple(str(getattr(self, part)).lower() for part in self.key)

    def said(self) -> dict[str, Any]:
        """Return what the document says of the object, besides what names it."""
        return {
            name: value
            for name, value in self.model_dump(include=self.model_fields_set).items()
            if value is not None and name not in self.key and name != "new_name"
        }


class Named(Item):
    """An object that is called by its name, which can be changed."""

    name: Name
    new_name: Name | None = Field(default=None, description="Another name.")


class Option(Part):
    """A choice of a DROPDOWN or MULTI_SELECT field."""

    value: Name
    label: Name | None = None
    enabled: bool = True


class Slot(Part):
    """A column of a STEPS field."""

    slot: SlotName
    label: Name
    enabled: bool = True


Options = Annotated[list[Option], Field(max_length=50)]
Slots = Annotated[list[Slot], Field(max_length=4)]


class FieldOverride(Part):
    """What holds for a field in one project, over what its templates say; what is left out is as they say."""

    project: Name
    hidden: bool = False
    required: bool | None = None
    default: Any = None
    options: Options | None = Field(default=None, description="The list of this project, in place of every other.")
    slots: Slots | None = Field(default=None, description="Labels of this project, in place of the field's own.")


class CaseField(Item):
    """A field that cases can have."""

    key = ("system_name",)
    fixed = frozenset({"type"})

    system_name: Annotated[str, StringConstraints(max_length=50, pattern=r"^[a-z][a-z0-9_]*$")]
    label: Name | None = Field(default=None, description="What people read; by default the system name.")
    type: FieldType | None = Field(default=None, description="What values it has; never changes.")
    enabled: bool | None = _ENABLED
    projects: Projects | None = _PROJECTS
    options: Options | None = Field(
        default=None, description="Choices of a DROPDOWN or MULTI_SELECT, in order; one left out is disabled."
    )
    slots: Slots | None = Field(
        default=None, description="Columns of a STEPS field, in order; one left out is disabled."
    )
    overrides: list[FieldOverride] | None = Field(
        default=None, description="What is different in single projects: all of it. Values that cases have are kept."
    )


class TemplateField(Part):
    """A field of a template, and what holds for it there."""

    field: Name
    required: bool = False
    default: Any = None
    options: Options | None = Field(default=None, description="The list of this template, in place of the field's own.")


class Template(Named):
    """A set of fields that a case has."""

    enabled: bool | None = _ENABLED
    default: bool | None = _DEFAULT
    projects: Projects | None = _PROJECTS
    fields: list[TemplateField] | None = Field(
        default=None, description="Its fields: all of them. Values that cases have in a field left out are kept."
    )


class Status(Named):
    """What a result can say."""

    fixed = frozenset({"system_name"})

    system_name: Annotated[str, StringConstraints(max_length=50, pattern=r"^[a-z0-9-]+$")] | None = Field(
        default=None, description="By default the name in small letters; never changes."
    )
    aliases: list[Name] | None = Field(default=None, description="Other names for it; repeat for more.")
    color: Color | None = _COLOR
    success: bool | None = Field(default=None, description="It counts as a success.")
    failure: bool | None = Field(default=None, description="It counts as a failure.")
    completed: bool | None = Field(default=None, description="With it, a case counts as done.")
    for_runs: bool | None = Field(default=None, description="Offered for results of runs.")
    enabled: bool | None = _ENABLED
    position: Position | None = _POSITION
    projects: Projects | None = _PROJECTS


class LifecycleState(Named):
    """Where a case (REPOSITORY) or a run (RUNS) stands."""

    key = ("context", "name")

    context: Context = Field(description="Of cases (REPOSITORY) or of runs (RUNS).")
    icon: Icon | None = _ICON
    color: Color | None = _COLOR
    default: bool | None = _DEFAULT
    include_in_runs: bool | None = Field(default=None, description="A run takes its cases when nothing is selected.")
    automation: Literal["FIRST_RESULT", "RUN_CLOSED", "NONE"] | None = Field(
        default=None, description="A run moves here at its first result, or when it is closed."
    )
    enabled: bool | None = _ENABLED
    position: Position | None = _POSITION
    projects: Projects | None = _PROJECTS


class Tag(Named):
    """A label for cases (REPOSITORY) or runs (RUNS)."""

    key = ("context", "name")

    name: Annotated[str, StringConstraints(min_length=2, max_length=50, pattern=r"^[^\W_]+([_-][^\W_]+)*[_-]?$")]
    context: Context = Field(description="For cases (REPOSITORY) or for runs (RUNS).")
    icon: Icon | None = _ICON
    color: Color | None = _COLOR


class Platform(Part):
    """A platform, such as Firefox."""

    name: Name
    icon: Icon | None = None
    enabled: bool = True


class PlatformGroup(Named):
    """A family of platforms of which an environment has at most one, such as Browser."""

    enabled: bool | None = _ENABLED
    position: Position | None = _POSITION
    platforms: list[Platform] | None = Field(default=None, description="Its platforms; one left out is disabled.")


class Environment(Named):
    """A combination of platforms that cases are meant for and runs are executed on."""

    name: LongName
    platforms: list[Name] | None = Field(
        default=None, description="By name, or Group/Name where two groups have one; at most one of a group."
    )
    for_cases: bool | None = Field(default=None, description="Offered for cases.")
    for_runs: bool | None = Field(default=None, description="Offered for runs.")
    enabled: bool | None = _ENABLED
    projects: Projects | None = _PROJECTS


class CycleType(Named):
    """A kind of cycle, such as Sprint."""

    icon: Icon | None = _ICON
    color: Color | None = _COLOR
    default: bool | None = _DEFAULT
    enabled: bool | None = _ENABLED
    projects: Projects | None = _PROJECTS


class Source(Named):
    """An issue tracker."""

    system: System | None = Field(default=None, description="Which tracker it is.")
    base_url: Text | None = Field(default=None, description="https://acme.atlassian.net")
    issue_url_template: Text | None = Field(default=None, description="An issue's address: {baseUrl}/browse/{key}")
    create_url_template: Text | None = Field(default=None, description="Where a new issue is made.")
    key_pattern: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = Field(
        default=None, description="A regular expression that matches a key whole; by default the tracker's."
    )
    example: Annotated[str, StringConstraints(max_length=100)] | None = Field(default=None, description="A key.")
    enabled: bool | None = _ENABLED
    projects: Projects | None = _PROJECTS


class Relation(Named):
    """What a link to an issue means."""

    fixed = frozenset({"semantic"})

    semantic: Literal["GENERAL", "DEFECT"] | None = Field(
        default=None, description="GENERAL: the case covers the issue; DEFECT: the issue is a defect. Never changes."
    )
    default: bool | None = _DEFAULT
    enabled: bool | None = _ENABLED
    projects: Projects | None = _PROJECTS


class Role(Named):
    """What one may do in a project."""

    description: Text | None = None
    permissions: list[str] | None = None
    default: bool | None = _DEFAULT


class User(Item):
    """Somebody who may come in."""

    key = ("email",)

    email: Annotated[str, StringConstraints(max_length=254)]
    name: Name | None = None
    access_level: Literal["REGULAR_USER", "PROJECT_ADMIN", "TENANT_ADMIN"] | None = None
    role: Name | None = None
    active: bool | None = None


class Group(Named):
    """Users who get access to projects together."""

    description: Text | None = None
    enabled: bool | None = None
    members: list[str] | None = Field(default=None, description="All its members, by e-mail.")


class AccessRule(Part):
    """What a user or a group may do in one project. A group has no *override*."""

    mode: Literal["INHERIT", "NO_ACCESS", "FORCE_GLOBAL_ROLE", "FORCE_ROLE"]
    role: Name | None = Field(default=None, description="The role of FORCE_ROLE.")
    override: Name | None = Field(default=None, description="The role that INHERIT gives in place of the global one.")


class Project(Named):
    """A body of tests, and who has access to it."""

    summary: Annotated[str, StringConstraints(max_length=2000)] | None = None
    icon: Icon | None = _ICON
    default_access: Literal["NO_ACCESS", "GLOBAL_ROLE", "ROLE"] | None = None
    default_role: Name | None = None
    completed: bool | None = None
    users: dict[str, AccessRule] | None = Field(default=None, description="All rules for users, by e-mail.")
    groups: dict[str, AccessRule] | None = Field(default=None, description="All rules for groups, by name.")


class Configuration(Part):
    """The whole document; each section is optional. They are applied in this order."""

    roles: list[Role] = []
    users: list[User] = []
    groups: list[Group] = []
    projects: list[Project] = []
    fields: list[CaseField] = []
    templates: list[Template] = []
    statuses: list[Status] = []
    lifecycle_states: list[LifecycleState] = []
    tags: list[Tag] = []
    platform_groups: list[PlatformGroup] = []
    environments: list[Environment] = []
    cycle_types: list[CycleType] = []
    sources: list[Source] = []
    relations: list[Relation] = []
