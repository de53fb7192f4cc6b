"""Keys of issues: from what people paste, a key or an address, to the one form that a tracker's issue is known by.

Which of the possible forms is right is for the source's key pattern to say, see links; nothing here asks the tracker.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, parse_qs, quote, unquote, urlsplit

from service.errors import Code, Refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

LONGEST_KEY = 100
LONGEST_URL = 1_000
_SHOWN = 60

_IS_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_DEFAULT_PORTS = {"http": 80, "https": 443}

# What sources have until an administrator says better: then the tracker's usual place for issues is the better guess.
_NO_TEMPLATE = "{baseUrl}/{key}"
_TEMPLATES = {
    "JIRA": "{baseUrl}/browse/{key}",
    "LINEAR": "{baseUrl}/issue/{key}",
    "GITHUB": "{baseUrl}/issues/{key}",
    "GITLAB": "{baseUrl}/-/issues/{key}",
    "AZURE_DEVOPS": "{baseUrl}/_workitems/edit/{key}",
}
_PROJECT_KEY = r"([A-Za-z][A-Za-z0-9_]*-[0-9]+)"
# Where a path holds the key, for each system.
_PATHS = {
    "JIRA": re.compile(rf"/(?:browse|issues)/{_PROJECT_KEY}/?"),
    "LINEAR": re.compile(rf"/issue/{_PROJECT_KEY}(?:/[^/]*)?/?"),
    "GITHUB": re.compile(r"/(?P<repository>[^/]+/[^/]+)/(?:issues|pull)/(?P<number>[0-9]+)/?"),
    "GITLAB": re.compile(r"/(?P<repository>[^/]+(?:/[^/]+)+?)(?:/-)?/(?:issues|work_items)/(?P<number>[0-9]+)/?"),
    "AZURE_DEVOPS": re.compile(r"/_workitems/(?:edit/)?([0-9]+)/?"),
}
# The parameter that holds the key where the path does not: boards with an issue opened.
_PARAMETERS = {"JIRA": "selectedIssue", "AZURE_DEVOPS": "workitem"}
_IN_REPOSITORY = re.compile(r"(?:(?P<repository>[\w.-]+(?:/[\w.-]+)+)#|#?)(?P<number>[0-9]+)", re.ASCII)
_WORK_ITEM = re.compile(r"(?:AB)?#?([0-9]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """An issue tracker, as far as keys are concerned. Where *base_url* is empty its address is not known."""

    id: int
    name: str
    system: str
    base_url: str
    issue_url_template: str
    key_pattern: str
    example: str
    enabled: bool

    def candidates(self, given: str) -> list[str]:
        """Return the keys that *given*, a key or an address, can stand for, the likeliest first.

        Raise Refused where it cannot be a key of this source.
        """
        given = given.strip()
        found = self._keys_in_address(given) if is_address(given) else self._written(given)
        keys = [key for key in dict.fromkeys(found) if 0 < len(key) <= LONGEST_KEY and key.isprintable()]
        if not keys:
            raise self.refusal(given)
        return keys

    def url(self, given: str, key: str) -> str:
        """Return the address to keep of the issue *key*: the one *given*, or one made from the template, if any."""
        given = given.strip()
        if is_address(given):
            return given
        base = _split(self.base_url)
        if base is None or base.scheme not in _DEFAULT_PORTS:
            return ""
        repository, _, number = key.rpartition("#")
        if self.system in {"GITHUB", "GITLAB"} and repository:
            # The base address may be another repository's, or none's.
            root, template = f"{base.scheme}://{base.netloc}/{repository}", _TEMPLATES[self.system]
        else:
            root, template = self.base_url.rstrip("/"), self._template
        shown_key = key if self.system == "CUSTOM" else number
        made = template.replace("{baseUrl}", root).replace("{key}", quote(shown_key, safe=""))
        return made if len(made) <= LONGEST_URL else ""

    def refusal(self, given: str) -> Refused:
        """Return the refusal of *given* as a key of this source."""
        example = f", for example {self.example}" if self.example else ""
        return Refused(
            Code.INVALID_VALUE,
            f"{shown(given)} is no issue of {self.name}: its keys match {self.key_pattern}{example}. Pass such a key, "
            "the issue's address, or another sourceId (see get_external_sources).",
            field="issueKey",
        )

    @property
    def _template(self) -> str:
        is_default = self.issue_url_template == _NO_TEMPLATE
        return _TEMPLATES.get(self.system, _NO_TEMPLATE) if is_default else self.issue_url_template

    def _written(self, given: str) -> list[str]:
        """Return the forms of a key that is written as one."""
        match self.system:
            case "JIRA" | "LINEAR":
                return [given.upper()]
            case "GITHUB" | "GITLAB":
                if (written := _IN_REPOSITORY.fullmatch(given)) is None:
                    return [given]
                if written["repository"] and not self._is_below(f"/{written['repository']}"):
                    return []
                return self._in_repository(written["repository"], written["number"])
            case "AZURE_DEVOPS":
                written = _WORK_ITEM.fullmatch(given)
                return [written[1]] if written else [given]
            case _:
                return [given]

    def _in_repository(self, repository: str | None, number: str) -> list[str]:
        number = number.lstrip("0") or "0"
        short = [f"#{number}", number]
        if repository is None:
            return short
        # Of the source's own repository the short form is the usual one.
        base = _split(self.base_url)
        is_own = base is not None and _plain(base.path) == _plain(repository)
        return [*short, f"{repository}#{number}"] if is_own else [f"{repository}#{number}", *short]

    def _keys_in_address(self, given: str) -> list[str]:
        address = _read_address(given)
        base = _split(self.base_url)
        if base is not None and (_site(address) != _site(base) or not self._is_below(address.path)):
            raise Refused(
                Code.INVALID_VALUE,
                f"The address is not below {self.base_url}, where the issues of {self.name} are: pass another sourceId "
                "(see get_external_sources), or the issue's key.",
                field="issueKey",
            )
        found = self._keys_in_path(unquote(address.path))
        for key in [*parse_qs(address.query).get(_PARAMETERS.get(self.system, ""), ()), *self._keys_by_template(given)]:
            found += self._written(key.strip())
        return found

    def _keys_in_path(self, path: str) -> list[str]:
        if (pattern := _PATHS.get(self.system)) is None:
            return []
        # What is found may start at any part of the path but must end it, so that no part of a title is a key.
        places = (part.start() for part in re.finditer("/", path))
        match = next((match for place in places if (match := pattern.fullmatch(path, place))), None)
        if match is None:
            return []
        if in_repository := match.groupdict():
            return self._in_repository(in_repository["repository"], in_repository["number"])
        return self._written(match[1])

    def _keys_by_template(self, given: str) -> list[str]:
        template = self._template.replace("{baseUrl}", self.base_url.rstrip("/"))
        before, placeholder, after = template.partition("{key}")
        if not placeholder or not self.base_url or not given.lower().startswith(before.lower()):
            return []
        rest = given[len(before) :]
        if after:
            key, end, _ = rest.partition(after)
            return [unquote(key)] if end else []
        return [unquote(re.split(r"[/?#&]", rest, maxsplit=1)[0])]

    def _is_below(self, path: str) -> bool:
        """Return whether *path* is below that of the base address; many teams share the hosts of the large trackers."""
        base = _split(self.base_url)
        above = _plain(base.path) if base else ""
        return not above or f"{_plain(path)}/".startswith(f"{above}/")


def is_address(given: str) -> bool:
    """Return whether *given* is written as an address and not as a key."""
    return _IS_ADDRESS.match(given.strip()) is not None


def from_row(row: Mapping[str, object]) -> Source:
    """Return the source of a row or document with its columns."""
    return Source(**{name: row[name] for name in Source.__slots__})  # type: ignore[arg-type]


def named(sources: Iterable[Source]) -> str:
    """Return how a message lists *sources*."""
    return ", ".join(f"{source.name} ({source.id})" for source in sources) or "none"


def shown(given: str) -> str:
    """Return *given* as a message shows it."""
    return repr(given if len(given) <= _SHOWN else f"{given[:_SHOWN]}…")


def _plain(path: str) -> str:
    return unquote(path).strip("/").lower()


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port  # reading it checks it
    except ValueError:
        return None
    return parts if parts.hostname else None


def _site(url: SplitResult) -> tuple[str | None, int | None]:
    """Return host and port; http and https are one site, as trackers forward from one to the other."""
    return url.hostname, None if url.port == _DEFAULT_PORTS.get(url.scheme) else url.port


def _read_address(given: str) -> SplitResult:
    # Python's own reading would silently drop line breaks and tabs.
    address = _split(given) if given.isprintable() and " " not in given else None
    if address is None:
        problem = "it cannot be read"
    elif address.scheme not in _DEFAULT_PORTS:
        problem = "it must begin with https:// or http://"
    elif address.username is not None or address.password is not None:
        problem = "it holds a user name or password, which is not to be stored"
    elif len(given) > LONGEST_URL:
        problem = f"it has more than {LONGEST_URL:,} characters"
    else:
        return address
    raise Refused(
        Code.INVALID_VALUE, f"This is no address of an issue: {problem}. Pass the issue's key.", field="issueKey"
    )
