"""Who may do what in which project: the permissions, and the one resolver."""

from service.access.permissions import Permission
from service.access.resolver import Access, access_gate, is_denial, resolve

__all__ = ["Access", "Permission", "access_gate", "is_denial", "resolve"]
