"""The product's rules and queries, by area: the only Python that knows the workspace's tables."""
