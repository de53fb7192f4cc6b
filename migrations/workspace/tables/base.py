"""The collection that every area adds its tables to, and the sequence that numbers all objects."""

from sqlalchemy import Sequence

from migrations.columns import metadata as empty_metadata

metadata = empty_metadata()

# From 1001 on, so that a case number given where an id is asked for (12 for C-12) seldom hits an object.
ids = Sequence("ids", start=1001, metadata=metadata)
