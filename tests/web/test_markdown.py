"""Markdown is shown safely: no tag, script, style or picture of a writer's comes through."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.web.markdown import render

pytestmark = pytest.mark.unit

HARMLESS = {
    *("p", "br", "hr", "h4", "h5", "h6", "ul", "ol", "li", "blockquote", "pre", "code", "em", "strong", "s", "a"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}

ATTACKS = """
<script>alert(1)</script>
<img src=x onerror=alert(1)>
<svg/onload=alert(1)>
<iframe src="javascript:alert(1)"></iframe>
<a href="javascript:alert(1)">x</a>
[x](javascript:alert(1))
[x](JaVaScRiPt:alert(1))
[x](&#106;&#97;vascript:alert(1))
[x](java%0ascript:alert(1))
[x](\x01javascript:alert(1))
[x](  javascript:alert(1))
[x](data:text/html;base64,PHNjcmlwdD4=)
[x](vbscript:msgbox(1))
[x](file:///etc/passwd)
[x](//evil.example)
[x](/w/acme/sign-out)
[x](https://a.example" onmouseover="alert(1))
[x](https://a.example "title\\" onmouseover=\\"alert(1)")
[x]: javascript:alert(1)
![x](https://evil.example/pixel.png)
![x](https://evil.example/pixel.png"onload="alert(1))
<javascript:alert(1)>
<https://a.example/"onmouseover="alert(1)>
`<script>alert(1)</script>`
```"><script>alert(1)</script>
| a |\n|:-:|\n| <script>alert(1)</script> |
# <img src=x onerror=alert(1)>
<!-- <script>alert(1)</script> -->
<style>body{display:none}</style>
&lt;script&gt;alert(1)&lt;/script&gt;
<x onclick=alert(1)>
[<script>alert(1)</script>](https://a.example)
<math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>
""".strip().splitlines()


class Reader(HTMLParser):
    """What a browser would make of it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def check(text: str) -> Reader:
    read = Reader(str(render(text)))
    for tag, attributes in read.elements:
        assert tag in HARMLESS, (tag, text)
        if tag == "a":
            assert attributes.pop("rel") == "nofollow noopener noreferrer"
            assert attributes.pop("href").split(":")[0].lower() in {"http", "https", "mailto"}
            attributes.pop("title", None)
        if tag == "code":
            attributes.pop("class", None)
        if tag == "ol":
            attributes.pop("start", None)
        assert attributes == {}, text
    return read


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_comes_to_nothing(attack):
    check(attack)


def test_attacks_together_come_to_nothing():
    check("\n".join(ATTACKS))
    check("\n\n".join(ATTACKS))


@given(st.lists(st.sampled_from([*ATTACKS, "\n", "\n\n", "    ", "> ", "- ", "**", "`", "[", "](", ")", "<", ">"])))
def test_no_mixture_of_attacks_comes_through(parts):
    check("".join(parts))


def test_markdown_is_rendered():
    read = check(
        "# Found\n\n**bold** `code` [page](https://a.example/?a=1&b=2) <me@a.example>\n\n- one\n- two\n\n"
        "| a | b |\n|--:|---|\n| 1 | 2 |\n\nline\nnext ~~gone~~"
    )
    tags = [tag for tag, _ in read.elements]
    assert {"h4", "strong", "code", "a", "ul", "table", "br", "s"} <= set(tags)
    assert "Found" in read.text


def test_html_is_shown_as_text():
    assert check("<b>bold</b> & <script>x</script>").text == "<b>bold</b> & <script>x</script>\n"


def test_a_picture_becomes_a_link_to_it():
    assert [tag for tag, _ in check("![chart](https://a.example/c.png)").elements] == ["p", "a"]
