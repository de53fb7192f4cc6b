"""The command line: `testorchestrator`, for operators and for trying the service out."""

from service.cli.main import main

__all__ = ["main"]
