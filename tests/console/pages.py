"""Every page a browser test visits, and what a visit may not do."""

from dataclasses import dataclass, field
from typing import Any

from tests.conftest import Person

PUBLIC = ("/", "/pricing", "/docs/", "/docs/reports", "/docs/api/", "/search?q=train", "/styleguide")


@dataclass
class Visit:
    """One page opened, with everything it complained about."""

    page: Any
    complaints: list[str] = field(default_factory=list)


def visit(context: Any, url: str) -> Visit:
    """Open a page and collect console errors, page errors and requests that leave the host."""
    page = context.new_page()
    found = Visit(page)
    host = url.split("/")[2]
    page.on("console", lambda m: found.complaints.append(m.text) if m.type in {"error", "warning"} else None)
    page.on("pageerror", lambda e: found.complaints.append(str(e)))
    page.on(
        "request",
        lambda r: (
            found.complaints.append(f"leaves the host: {r.url}")
            if not r.url.startswith(("data:", "blob:")) and r.url.split("/")[2] != host
            else None
        ),
    )
    answer = page.goto(url, wait_until="load")
    if answer.status >= 400:
        found.complaints.append(f"status {answer.status}")
    return found


def signed_in(context: Any, site: str, person: Person, cookie: str = "sessionid") -> None:
    """Give a browser context a member's session, or the staff's own."""
    context.add_cookies([{"name": cookie, "value": person.browser.cookies[cookie].value, "url": site}])


def sideways(page: Any) -> int:
    """Pixels the page can be scrolled sideways."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))
