"""The record of every change, written in the change's own transaction."""

from service.audit.trail import Actor, Change, write

__all__ = ["Actor", "Change", "write"]
