"""The choices that access is made of: a user's level, the mode of a rule, what a project gives by default."""

from enum import StrEnum


class AccessLevel(StrEnum):
    """How much of the workspace's administration is open to a user; it opens no project."""

    REGULAR_USER = "REGULAR_USER"
    PROJECT_ADMIN = "PROJECT_ADMIN"
    TENANT_ADMIN = "TENANT_ADMIN"


class AccessMode(StrEnum):
    """What the rule of a user or group on a project gives."""

    INHERIT = "INHERIT"
    NO_ACCESS = "NO_ACCESS"
    FORCE_GLOBAL_ROLE = "FORCE_GLOBAL_ROLE"
    FORCE_ROLE = "FORCE_ROLE"


class DefaultAccess(StrEnum):
    """What a project gives to users whom no rule names."""

    NO_ACCESS = "NO_ACCESS"
    GLOBAL_ROLE = "GLOBAL_ROLE"
    ROLE = "ROLE"
