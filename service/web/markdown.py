"""What people and agents write, as HTML that is safe to show.

Markdown without HTML: tags are shown as the text that they are. Links lead to web pages and mailboxes only, and no
image is loaded, since it would tell its server who reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from markdown_it import MarkdownIt
from markupsafe import Markup

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markdown_it.renderer import RendererProtocol
    from markdown_it.token import Token
    from markdown_it.utils import EnvType, OptionsDict

_SCHEMES = {"http", "https", "mailto"}
# Headings of a text are below those of the page that shows it.
_HIGHEST_HEADING = 4


def render(text: str) -> Markup:
    """Return *text*, which is Markdown, as HTML."""
    return Markup(_MARKDOWN.render(text))  # noqa: S704 - the renderer escapes, and is given no HTML to pass on


def is_safe_link(url: str) -> bool:
    """Return whether a link may lead to *url*: a web page or a mailbox, named in full."""
    try:
        return urlsplit(url.strip()).scheme.lower() in _SCHEMES
    except ValueError:
        return False


def _heading(self: RendererProtocol, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:  # noqa: ARG001 - the renderer's signature
    level = min(_HIGHEST_HEADING - 1 + int(tokens[index].tag[1:]), 6)
    return f"<h{level}>" if tokens[index].nesting == 1 else f"</h{level}>\n"


def _link(self: RendererProtocol, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
    tokens[index].attrSet("rel", "nofollow noopener noreferrer")
    return self.renderToken(tokens, index, options, env)  # type: ignore[attr-defined, no-any-return]


def _cell(self: RendererProtocol, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
    # Its alignment would be a style attribute, which the Content-Security-Policy refuses.
    tokens[index].attrs.pop("style", None)
    return self.renderToken(tokens, index, options, env)  # type: ignore[attr-defined, no-any-return]


def _renderer() -> MarkdownIt:
    markdown = MarkdownIt("commonmark", {"html": False, "breaks": True}).enable(["table", "strikethrough"])
    markdown.disable(["image", "html_block", "html_inline"])
    markdown.validateLink = is_safe_link  # type: ignore[method-assign]
    markdown.add_render_rule("link_open", _link)
    for rule in ("heading_open", "heading_close"):
        markdown.add_render_rule(rule, _heading)
    for rule in ("th_open", "td_open"):
        markdown.add_render_rule(rule, _cell)
    return markdown


_MARKDOWN = _renderer()
