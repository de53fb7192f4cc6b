"""The record of every change, written in the change's own transaction."""

from service.audit.trail import Change, write

__all__ = ["Change", "write"]
