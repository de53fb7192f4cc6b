"""The tables of one workspace, by area. Alembic moves them; this describes where they have arrived.

No schema is named anywhere: the search_path of whoever runs the DDL decides. No enum, domain or composite
type is used, because a type of its own in every schema breaks prepared statements that outlive a request.
"""

from migrations.workspace.tables import configuration, execution, record, repository, traceability  # noqa: F401
from migrations.workspace.tables.access import PERMISSIONS
from migrations.workspace.tables.base import metadata

__all__ = ["PERMISSIONS", "metadata"]
