"""The pages of a workspace's administration: people, roles, groups, projects and access to them, and the audit log.

What may be administered by whom, and which values are good, `service.domain` says; a page asks, and shows the answer.
"""
