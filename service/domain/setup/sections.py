"""What a section of the document can do: tell what is stored, and create or change an object of its kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.domain.setup.document import Item
    from service.domain.work import Work

Kind_contra = TypeVar("Kind_contra", bound="Item", contravariant=True)
Identity = tuple[str, ...]
#: What was and what is now, by the names that models have; None is nothing.
Differences = dict[str, tuple[Any, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An object as it is: *values* are what a document can say of it, by the names that models have."""

    id: int
    key: dict[str, str]
    values: dict[str, Any]


class Section(Protocol, Generic[Kind_contra]):
    """A kind of objects."""

    @property
    def name(self) -> str:
        """The attribute of the document."""
        ...

    @property
    def noun(self) -> str:
        """What one of them is called."""
        ...

    @property
    def model(self) -> type[Any]:
        """What a document can say of one."""
        ...

    async def stored(self, work: Work) -> dict[Identity, Stored]:
        """Return all objects by what names them, in the order of display."""
        ...

    def wanted(self, name: str, said: Any, stored: Any) -> Any:
        """Return the value that what is *said* of *name* comes to, where *stored* is there already."""
        ...

    async def create(self, work: Work, item: Kind_contra) -> int:
        """Create the object, and return its id."""
        ...

    async def change(self, work: Work, stored: Stored, values: Mapping[str, Any]) -> Differences:
        """Give the object these values, which differ from what is stored, and return what is different now."""
        ...
