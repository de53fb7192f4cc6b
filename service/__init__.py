"""TestOrchestrator's service: MCP, web pages and command line over the domain."""

from importlib.metadata import version

__version__ = version("testorchestrator")
