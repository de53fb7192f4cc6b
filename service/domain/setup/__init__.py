"""A workspace's configuration as one declarative document, and what makes the stored one agree with it."""
