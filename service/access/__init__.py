"""Who may do what in which project: the permissions, and the one gate."""

from service.access.choices import AccessLevel, AccessMode, DefaultAccess
from service.access.gate import access_gate, is_denial
from service.access.permissions import Permission

__all__ = ["AccessLevel", "AccessMode", "DefaultAccess", "Permission", "access_gate", "is_denial"]
