"""TestOrchestrator's service: MCP, web pages and command line over the domain."""
