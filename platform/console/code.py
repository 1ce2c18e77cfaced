"""Code samples: highlighting in classes (never inline styles), and the three languages every sample comes in."""

from dataclasses import dataclass
from functools import lru_cache

from django.utils.safestring import SafeString, mark_safe
from pygments import highlight
from pygments.formatters.html import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

_FORMATTER = HtmlFormatter(nowrap=True)


@dataclass(frozen=True, slots=True)
class Sample:
    """One language's version of a call."""

    lang: str
    label: str
    text: str

    @property
    def html(self) -> SafeString:
        """Highlighted text."""
        return highlighted(self.text, self.lang)


@lru_cache(maxsize=512)
def highlighted(text: str, lang: str) -> SafeString:
    """HTML spans for a piece of code; an unknown language stays plain. Pygments escapes the text itself."""
    try:
        lexer = get_lexer_by_name(lang, stripnl=False)
    except ClassNotFound:
        lexer = get_lexer_by_name("text", stripnl=False)
    return mark_safe(highlight(text, lexer, _FORMATTER).rstrip("\n"))


def samples(curl: str, python: str, node: str) -> list[Sample]:
    """The three, in the order of the look."""
    return [
        Sample("bash", "curl", curl.strip()),
        Sample("python", "Python", python.strip()),
        Sample("javascript", "Node", node.strip()),
    ]
