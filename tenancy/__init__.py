"""The control plane: workspaces, keys, roles, provisioning and migrating. Knows no domain table."""
