"""Read the visible text of an HTML page."""

import re
from html.parser import HTMLParser

BLOCKS = frozenset(
    (
        *("address", "article", "aside", "blockquote", "body", "br", "caption", "dd", "details", "dialog", "div", "dl"),
        *("dt", "fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "head", "header"),
        *("hr", "html", "legend", "li", "main", "nav", "ol", "optgroup", "option", "p", "pre", "section", "summary", "table"),
        *("tbody", "td", "tfoot", "th", "thead", "title", "tr", "ul"),
    )
)
"""Elements that begin and end a line of their parent's text."""
PARAGRAPHS = frozenset(
    ["blockquote", "div", "dl", "figure", "h1", "h2", "h3", "h4", "h5", "h6", "ol", "p", "pre", "section", "table", "title", "ul"]
)
"""Elements with an empty line around them."""
OPEN_ENDED = frozenset(
    (
        *("body", "colgroup", "dd", "dt", "head", "html", "li", "optgroup", "option", "p", "rp", "rt", "tbody", "td"),
        *("tfoot", "th", "thead", "tr"),
    )
)
"""Elements whose end tag is often left out, so that nobody knows where a hidden one ends."""
NOT_TEXT = frozenset(("script", "style", "template"))
VOID = frozenset(["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"])
"""Elements that never have an end tag."""
_SPACES = re.compile(r"[ \t\n\r\f]+")
_HIDDEN_STYLE = re.compile(r"(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*hidden)", re.IGNORECASE)
_BREAK, _GAP, _SPACE = "\x00", "\x01", "\x02"
_WITHOUT_MARKS = dict.fromkeys(map(ord, (_BREAK, _GAP, _SPACE)))


def visible_text(html: str) -> str:
    """Return the text of a page as a reader sees it: no scripts, styles and hidden elements, white space as a browser shows it.

    Tags may be missing or wrong, as in most pages. The text of a hidden element without an end is not left out, because the page may
    go on there.
    """
    page = _Page()
    page.feed(html)
    page.close()
    return page.text()


class _Page(HTMLParser):
    """The texts of a page in its order, with marks where a line ends."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        # Name of the hidden element, how deep the parser is in elements of this name, and the number of parts before it.
        self.hidden: tuple[str, int, int] | None = None
        self.preformatted = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._mark(tag)
        self.preformatted += tag == "pre"
        if self.hidden is not None:
            name, depth, start = self.hidden
            self.hidden = (name, depth + (tag == name), start)
        elif tag in NOT_TEXT or (tag not in VOID | OPEN_ENDED and _is_hidden(dict(attrs))):
            self.hidden = (tag, 1, len(self.parts))

    def handle_endtag(self, tag: str) -> None:
        self.preformatted = max(0, self.preformatted - (tag == "pre"))
        if self.hidden is not None:
            name, depth, start = self.hidden
            self.hidden = (name, depth - (tag == name), start)
            if self.hidden[1] == 0:
                del self.parts[start:]
                self.hidden = None
        self._mark(tag)

    def handle_data(self, data: str) -> None:
        data = data.translate(_WITHOUT_MARKS)
        self.parts.append(data.replace("\n", _BREAK).replace(" ", _SPACE) if self.preformatted else _SPACES.sub(" ", data))

    def parse_html_declaration(self, i: int) -> int:
        try:
            return super().parse_html_declaration(i)
        # The library's answer to a marked section that is none, such as `<![a`.
        except AssertionError:
            self.handle_data("<!")
            return i + len("<!")

    def text(self) -> str:
        if self.hidden is not None and self.hidden[0] in NOT_TEXT - {"template"}:
            del self.parts[self.hidden[2] :]
        lines = re.split(f"({_BREAK}|{_GAP})", re.sub(" +", " ", "".join(self.parts)))
        shown = "".join("\n" if part == _BREAK else "\n\n" if part == _GAP else part.strip(" ") for part in lines)
        return re.sub(r"\n{3,}", "\n\n", shown).replace(_SPACE, " ").strip()

    def _mark(self, tag: str) -> None:
        if tag in BLOCKS:
            self.parts.append(_GAP if tag in PARAGRAPHS else _BREAK)


def _is_hidden(attributes: dict[str, str | None]) -> bool:
    return "hidden" in attributes or _HIDDEN_STYLE.search(attributes.get("style") or "") is not None
