"""The web pages: sign-in, a person's own API keys, and the workspace at a glance. No SQL, no rules."""
