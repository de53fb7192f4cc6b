"""The sections that have modules of their own with all rules: roles, users, groups, projects and access to them."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any

from service.domain import groups, project_rules, project_settings, roles, users
from service.domain.groups import GroupPatch
from service.domain.project_rules import RulePatch
from service.domain.project_settings import ProjectPatch
from service.domain.roles import RolePatch
from service.domain.setup.document import Group, Project, Role, User
from service.domain.setup.sections import Differences, Identity, Stored
from service.domain.users import UserPatch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.domain.work import Document, Work


class _People(abc.ABC):
    """What these sections share: lists are sets, and are compared in the order of their names."""

    def wanted(self, _name: str, said: Any, _stored: Any) -> Any:
        """Return the value that what is said comes to."""
        return sorted(set(said), key=str.lower) if isinstance(said, list) else said

    async def change(self, work: Work, stored: Stored, values: Mapping[str, Any]) -> Differences:
        """Change what differs."""
        await self._change(work, stored, values)
        old = stored.values | stored.key
        return {name: (old.get(name), value) for name, value in values.items()}

    @abc.abstractmethod
    async def _change(self, work: Work, stored: Stored, values: Mapping[str, Any]) -> None: ...


def _stored(document: Document, key: str, values: Mapping[str, Any]) -> tuple[Identity, Stored]:
    name = document[key]
    there = {one: value for one, value in values.items() if value is not None}
    return (name.lower(),), Stored(id=document["id"], key={key: name}, values=there)


class Roles(_People):
    """Roles, with their permissions."""

    name, noun, model = "roles", "role", Role

    async def stored(self, work: Work) -> dict[Identity, Stored]:
        """Return all objects by what names them."""
        return dict(
            _stored(
                one,
                "name",
                {
                    "description": one["description"],
                    "permissions": sorted(one["permissions"]),
                    "default": one["default"],
                },
            )
            for one in (await roles.list_roles(work))["items"]
        )

    async def create(self, work: Work, item: Role) -> int:
        """Create the role."""
        return int((await roles.create_role(work, name=item.name, **item.said()))["id"])

    async def _change(self, work: Work, stored: Stored, values: Mapping[str, Any]) -> None:
        await roles.change_role(work, stored.id, RolePatch(**values))


class Users(_People):
    """Users. Whoever applies sees to it that the keys of those who are activated or deactivated follow."""

    name, noun, model = "users", "user", User

    async def stored(self, work: Work) -> dict[Identity, Stored]:
        """Return all objects by what names them."""
        names = {"name": "name", "access_level": "accessLevel", "role": "role", "active": "active"}
        return dict(
            _stored(one, "email", {name: one[shown] for name, shown in names.items()})
            for one in (await users.list_users(work))["items"]
        )

    async def create(self, work: Work, item: User) -> int:
        """Create the user."""
        said = item.said()
        active = said.pop("active", True)
        made = await users.create_user(work, email=item.email, **{"name": "", **said})
        if not active:
            await users.change_user(work, made["id"], UserPatch(active=False))
        return int(made["id"])

    async def _change(self, work: Work, stored: Stored, values: Mapping[str, Any]) -> None:
        await users.change_user(work, stored.id, UserPatch(**values))


class Groups(_People):
    """Groups, with their members."""

    name, noun, model = "groups", "group", Group

    async def stored(self, work: Work) -> dict[Identity, Stored]:
        """Return all objects by what names them."""
        found = {}
        for one in (await groups.list_groups(work))["items"]:
            members = [user["email"] for user in (await users.list_users(work, group=one["id"]))["items"]]
            values = {"description": one.get("description", ""), "enabled": one["enabled"]}
            identity, stored = _stored(one, "name", {**values, "members": sorted(members, key=str.lower)})
            found[identity] = stored
        return found

    async def create(self, work: Work, item: Group) -> int:
        """Create the group."""
        said = item.said()
        enabled = said.pop("enabled", True)
        made = await groups.create_group(work, name=item.name, **said)
        if not enabled:
            await groups.change_group(work, made["id"], GroupPatch(enabled=False))
        return int(made["id"])

    async def _change(self, work: Work, stored: Stored, values: Mapping[str, Any]) -> None:
        patch = dict(values)
        members = patch.pop("members", None)
        if patch:
            await groups.change_group(work, stored.id, GroupPatch(**patch))
        if members is not None:
            there = {email.lower(): email for email in stored.values["members"]}
            listed = {email.lower(): email for email in members}
            if new := [email for low, email in listed.items() if low not in there]:
                await groups.add_members(work, stored.id, new)
            if gone := [email for low, email in there.items() if low not in listed]:
                await groups.remove_members(work, stored.id, gone)


class Projects(_People):
    """Projects, with all rules of access to them."""

    name, noun, model = "projects", "project", Project

    async def stored(self, work: Work) -> dict[Identity, Stored]:
        """Return all objects by what names them."""
        found = {}
        for one in (await project_settings.list_all_projects(work))["items"]:
            identity, stored = _stored(
                one,
                "name",
                {
                    "summary": one.get("summary", ""),
                    "icon": one.get("icon"),
                    "default_access": one["defaultAccess"],
                    "default_role": one.get("defaultRole"),
                    "completed": one["completed"],
                    "users": {
                        rule["user"]["email"]: _rule(rule)
                        for rule in (await project_rules.list_user_rules(work, one["id"]))["items"]
                    },
                    "groups": {
                        rule["group"]["name"]: _rule(rule)
                        for rule in (await project_rules.list_group_rules(work, one["id"]))["items"]
                    },
                },
            )
            found[identity] = stored
        return found

    def wanted(self, name: str, said: Any, stored: Any) -> Any:
        """Return the value that what is said comes to."""
        if name in ("users", "groups"):
            # Named as they are stored, where only capitals differ.
            there = {holder.lower(): holder for holder in stored or {}}
            return {there.get(holder.lower(), holder): _without_none(rule) for holder, rule in said.items()}
        return super().wanted(name, said, stored)

    async def create(self, work: Work, item: Project) -> int:
        """Create the project."""
        said = item.said()
        rules = {holder: said.pop(holder) for holder in ("users", "groups") if holder in said}
        completed = said.pop("completed", False)
        made = await project_settings.create_project(work, name=item.name, **said)
        for holder, wanted in rules.items():
            await _set_rules(work, made["id"], holder, {}, wanted)
        if completed:
            await project_settings.change_project(work, made["id"], ProjectPatch(completed=True))
        return int(made["id"])

    async def _change(self, work: Work, stored: Stored, values: Mapping[str, Any]) -> None:
        patch = dict(values)
        for holder in ("users", "groups"):
            if holder in patch:
                await _set_rules(work, stored.id, holder, stored.values[holder], patch.pop(holder))
        if patch:
            await project_settings.change_project(work, stored.id, ProjectPatch(**patch))


def _rule(document: Document) -> dict[str, Any]:
    return {name: document[name] for name in ("mode", "role", "override") if name in document}


def _without_none(rule: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in rule.items() if value is not None}


async def _set_rules(
    work: Work, project_id: int, holder: str, there: Mapping[str, Any], wanted: Mapping[str, Any]
) -> None:
    change, remove = (
        (project_rules.set_user_rules, project_rules.remove_user_rules)
        if holder == "users"
        else (project_rules.set_group_rules, project_rules.remove_group_rules)
    )
    if gone := [name for name in there if name not in wanted]:
        await remove(work, project_id, gone)
    for name, rule in wanted.items():
        if there.get(name) != rule:
            # A group has no override, and is told so.
            override = {"override": rule.get("override") or ""} if holder == "users" or rule.get("override") else {}
            await change(work, project_id, [name], RulePatch(mode=rule["mode"], role=rule.get("role"), **override))


PEOPLE = (Roles(), Users(), Groups(), Projects())
