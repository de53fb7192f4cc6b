"""A browser as far as sign-in needs one: cookies by path, forms with their hidden fields, no redirect followed."""

from __future__ import annotations

import http.client
import re
from dataclasses import dataclass, field
from html import unescape
from http.cookies import SimpleCookie
from urllib.parse import urlencode

from argon2 import PasswordHasher

_HIDDEN = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)">')
# As strong as any for a test, and quick to make; what is stored says how it is to be checked.
_QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def quick_hash(password: str) -> str:
    return _QUICK.hash(password)


@dataclass(frozen=True)
class Page:
    status: int
    headers: dict[str, str]
    cookies: dict[str, str]
    body: str

    @property
    def location(self) -> str:
        return self.headers["location"]

    def hidden(self) -> dict[str, str]:
        """The hidden fields of the page's first form."""
        form = self.body[self.body.index("<form") :] if "<form" in self.body else ""
        return {name: unescape(value) for name, value in _HIDDEN.findall(form.partition("</form>")[0])}

    def main(self) -> str:
        """What the page is about, without what differs in every answer."""
        main = self.body.partition("<main")[2].partition("</main>")[0]
        return re.sub(r'name="csrf_token" value="[^"]*"', "", main)


@dataclass
class Browser:
    host: str
    port: int
    #: The Host header, where it is not the address.
    named: str | None = None
    cookies: dict[tuple[str, str], str] = field(default_factory=dict)

    def get(self, path: str, **headers: str) -> Page:
        return self._ask("GET", path, None, headers)

    def post(self, path: str, form: dict[str, str], **headers: str) -> Page:
        return self._ask(
            "POST", path, urlencode(form), {"Content-Type": "application/x-www-form-urlencoded", **headers}
        )

    def submit(self, path: str, form: dict[str, str], *, to: str | None = None) -> Page:
        """Fill in the form of the page at *path* and send it."""
        page = self.get(path)
        assert page.status == 200, page.body
        hidden = page.hidden() if to is None else {"csrf_token": page.hidden()["csrf_token"]}
        return self.post(to or path.partition("?")[0], {**hidden, **form})

    def sign_in(self, root: str, email: str, password: str, **form: str) -> Page:
        return self.submit(f"{root}/sign-in", {"email": email, "password": password, **form})

    def _ask(self, method: str, path: str, body: str | None, headers: dict[str, str]) -> Page:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.named:
            sent["Host"] = self.named
        mine = [f"{name}={v}" for (at, name), v in self.cookies.items() if path.startswith(at)]
        if mine:
            sent.setdefault("Cookie", "; ".join(mine))
        try:
            connection.request(method, path, body=body, headers=sent)
            response = connection.getresponse()
            received = response.getheaders()
            text = response.read().decode()
        finally:
            connection.close()
        set_cookies = {}
        for name, value in received:
            if name.lower() == "set-cookie":
                [(cookie, morsel)] = SimpleCookie(value).items()
                set_cookies[cookie] = value
                self.cookies[morsel["path"], cookie] = morsel.value
                if not morsel.value:
                    del self.cookies[morsel["path"], cookie]
        return Page(response.status, {n.lower(): v for n, v in received}, set_cookies, text)
