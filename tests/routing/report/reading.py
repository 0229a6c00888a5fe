"""A page as a browser and a screen reader get it."""

from html.parser import HTMLParser

VOID = {"meta", "img", "br", "link", "input", "hr"}
#: What a browser may load or run from.
ADDRESSES = ("src", "href", "xlink:href", "action", "data", "poster", "srcset", "background", "formaction")


class Page(HTMLParser):
    """Every tag is closed in order; collects elements, ids, addresses, and text outside of styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict]] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("style", "script"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def named(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]

    def values(self, *names: str) -> list[str]:
        return [value for _, attributes in self.elements for key, value in attributes.items() if key in names]

    def handlers(self) -> list[str]:
        return [key for _, attributes in self.elements for key in attributes if key.startswith("on")]
