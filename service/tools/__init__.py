"""The MCP tools: each one declaration and a thin handler, and the way that every call takes."""
