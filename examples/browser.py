"""A browser small enough to read: cookies, links and forms, standard library only. The demo clicks with it."""

import http.cookiejar
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from html.parser import HTMLParser

TIMEOUT = 60
SILENT = {"script", "style", "svg", "template"}


class BrowserError(RuntimeError):
    """A page is not what the journey expects; the message quotes it."""


@dataclass
class Form:
    """One form of a page: where it goes and what it would send."""

    action: str
    method: str
    fields: dict[str, str] = field(default_factory=dict)
    buttons: list[tuple[str, str]] = field(default_factory=list)


class Page(HTMLParser):
    """The forms, links and visible text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.links: list[tuple[str, str]] = []
        self.words: list[str] = []
        self._form: Form | None = None
        self._select = self._textarea = ""
        self._href: str | None = None
        self._silent = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open a form, a link or a field."""
        at = {name: value or "" for name, value in attrs}
        if tag in SILENT:
            self._silent += 1
        elif tag == "form":
            self._form = Form(at.get("action", ""), at.get("method", "get").lower())
            self.forms.append(self._form)
        elif tag == "a":
            self._href = at.get("href")
        elif self._form is not None and at.get("name"):
            self._field(tag, at, self._form)
        elif tag == "option" and self._form is not None and self._select:
            self._option(at, self._form)

    def _field(self, tag: str, at: dict[str, str], form: Form) -> None:
        kind = at.get("type", "text")
        if tag == "select":
            self._select = at["name"]
        elif tag == "textarea":
            self._textarea = at["name"]
            form.fields.setdefault(at["name"], "")
        elif tag == "button" or kind == "submit":
            form.buttons.append((at["name"], at.get("value", "")))
        elif tag == "input" and kind in {"checkbox", "radio"}:
            if "checked" in at:
                form.fields[at["name"]] = at.get("value", "on")
        elif tag == "input" and kind != "file":
            form.fields[at["name"]] = at.get("value", "")

    def _option(self, at: dict[str, str], form: Form) -> None:
        if "selected" in at or self._select not in form.fields:
            form.fields[self._select] = at.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        """Close what was open."""
        if tag in SILENT and self._silent:
            self._silent -= 1
        elif tag == "form":
            self._form = None
        elif tag == "select":
            self._select = ""
        elif tag == "textarea":
            self._textarea = ""
        elif tag == "a":
            self._href = None

    def handle_data(self, data: str) -> None:
        """Text a person reads."""
        if self._silent:
            return
        if self._textarea and self._form:
            self._form.fields[self._textarea] += data
        if words := " ".join(data.split()):
            self.words.append(words)
            if self._href is not None:
                self.links.append((words, self._href))


class Browser:
    """One person's browser: follows redirects, keeps cookies, remembers the page it is on."""

    def __init__(self, base_url: str) -> None:
        self.url = base_url
        self.page = Page("")
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))

    @property
    def text(self) -> str:
        """What a person reads on the page."""
        return " ".join(self.page.words)

    def open(self, url: str, data: dict[str, str] | None = None) -> str:
        """Go to a page (POST with data); returns its text. BrowserError on an error page."""
        target = urllib.parse.urljoin(self.url, url)
        body = None if data is None else urllib.parse.urlencode(data).encode()
        request = urllib.request.Request(target, data=body, headers={"Referer": self.url, "Accept": "text/html"})
        try:
            with self.opener.open(request, timeout=TIMEOUT) as answer:
                self.url, raw = answer.url, answer.read()
        except urllib.error.HTTPError as error:
            said = " ".join(Page(error.read().decode(errors="replace")).words)
            raise BrowserError(f"{target} answered {error.code}: {said[:600]}") from error
        self.page = Page(raw.decode(errors="replace"))
        return self.text

    def follow(self, words: str) -> str:
        """Click the first link whose words or address contain these."""
        for text, href in self.page.links:
            if words.lower() in text.lower() or words in href:
                return self.open(href)
        raise BrowserError(f"no link says {words!r} on {self.url}: {[text for text, _ in self.page.links][:40]}")

    def submit(self, having: str, *, action: str = "", **values: str) -> str:
        """Fill in and send the first form that has a field or button `having` and an address containing `action`."""
        for form in self.page.forms:
            if form.method == "post" and action in form.action and self._has(form, having):
                pressed = dict(form.buttons[:1])
                return self.open(form.action or self.url, {**form.fields, **pressed, **values})
        shown = [(form.action, sorted(form.fields)) for form in self.page.forms]
        raise BrowserError(f"no form with {having!r} at {action!r} on {self.url}: {shown}\n{self.text[:600]}")

    @staticmethod
    def _has(form: Form, name: str) -> bool:
        return not name or name in form.fields or any(name == button for button, _ in form.buttons)
