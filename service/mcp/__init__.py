"""The protocol: MCP over one POST endpoint, in both eras. It knows no tool and no SQL."""
