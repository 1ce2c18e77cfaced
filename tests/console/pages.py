"""Every page a browser test visits, and what a visit may not do."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.conftest import Person
from tests.console.places import PLACES

PUBLIC = ("/", "/papers/terms-1", "/pricing", "/docs/", "/docs/reports", "/docs/api/", "/search?q=train", "/styleguide")


def paths(owner: Person) -> list[str]:
    """Public pages, then the console's."""
    return [*PUBLIC, *(place.path(owner) for place in PLACES)]


@dataclass
class Visit:
    """One page opened, with everything it complained about."""

    page: Any
    complaints: list[str] = field(default_factory=list)


def visit(context: Any, url: str) -> Visit:
    """Open a page and collect console errors, page errors and requests that leave the host."""
    return next(tour(context, [url]))


def tour(context: Any, urls: list[str]) -> Iterator[Visit]:
    """Visit one address after the other in one window."""
    page, complaints = context.new_page(), list[str]()
    host = urls[0].split("/")[2]
    page.on("console", lambda m: complaints.append(m.text) if m.type in {"error", "warning"} else None)
    page.on("pageerror", lambda e: complaints.append(str(e)))
    page.on(
        "request",
        lambda r: (
            complaints.append(f"leaves the host: {r.url}")
            if not r.url.startswith(("data:", "blob:")) and r.url.split("/")[2] != host
            else None
        ),
    )
    for url in urls:
        complaints.clear()
        answer = page.goto(url, wait_until="load")
        if answer.status >= 400:
            complaints.append(f"status {answer.status}")
        yield Visit(page, complaints)


def signed_in(context: Any, site: str, person: Person, cookie: str = "sessionid") -> None:
    """Give a browser context a member's session, or the staff's own."""
    context.add_cookies([{"name": cookie, "value": person.browser.cookies[cookie].value, "url": site}])


def sideways(page: Any) -> int:
    """Pixels the page can be scrolled sideways."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))
