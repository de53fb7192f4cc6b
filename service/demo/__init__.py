"""The demo workspace: what is in it, as YAML files that document their own shape, and the loader that fills it in."""

#: The name of the workspace; no other one can be called so.
DEMO = "demo"
