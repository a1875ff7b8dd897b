"""Helpers of the report tests: a parser of pages, a text that attacks the page, and numbers as an audit writes them."""

from html.parser import HTMLParser

HOSTILE = "<script>alert(1)</script><img src=https://example.org/x> {{ 7 * 7 }} \x1b[31mred\u202e & 'q' $x^2$"


class Page(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, source: str):
        super().__init__()
        self.tags, self.attributes, self.text = set(), [], ""
        self.feed(source)

    @property
    def words(self) -> str:
        """The text with one space between words."""
        return " ".join(self.text.split())

    @property
    def harmless(self) -> bool:
        """Whether nothing in it runs or is loaded from elsewhere."""
        links = [value for name, value in self.attributes if name in ("src", "href", "xlink:href", "data", "action")]
        handlers = [name for name, _ in self.attributes if name.startswith("on")]
        tags = {"script", "img", "iframe", "link", "object"} & self.tags
        return not tags and not handlers and all(link.startswith("#") for link in links)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data + "\n"


def cell(value: float, n: int = 40) -> dict:
    return {"value": value, "n": n, "ci95": [max(0.0, value - 0.05), min(1.0, value + 0.05)]}


def verdict_row(name: str, verdict: str, threat: str = "API only", excess: float | None = 0.2, **other) -> dict:
    """Return a row of verdict.json."""
    interval = None if excess is None else {"value": excess, "n": 12, "ci95": [excess - 0.05, excess + 0.05]}
    numbers = {"unlearned": cell(0.5), "control": None if excess is None else cell(0.3), "original": cell(0.9)}
    comparison = {"against": "control", "excess": interval, "tolerance": 0.1, "reason": "there is no control to compare with"}
    return {"name": name, "threat": threat, "value": "ROUGE-L", **numbers, **comparison, "verdict": verdict, **other}
