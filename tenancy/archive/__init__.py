"""One workspace as one file: backed up, checked, restored under the same or another name, here or elsewhere.

`docs/archive.md` describes the file. No table is known here by name: what a workspace holds is read from the database's
catalog, so an archive of an older release is read with the tables of that release, then migrated.
"""

from tenancy.archive.backup import back_up, back_up_to, differences
from tenancy.archive.container import Archive, Progress, open_archive
from tenancy.archive.manifest import ArchiveRefused, Manifest
from tenancy.archive.restore import clone, restore

__all__ = [
    "Archive",
    "ArchiveRefused",
    "Manifest",
    "Progress",
    "back_up",
    "back_up_to",
    "clone",
    "differences",
    "open_archive",
    "restore",
]
