"""The economics pages in a real browser: wide and narrow, light and dark, full and empty."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from billing.periods import start_of
from ops import door
from tests.billing.subscribed import YEARS, changed
from tests.browser import AXE
from tests.conftest import Person, make_person
from tests.console.audit import AUDIT, RULES, audited
from tests.console.pages import sideways, signed_in, visit

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume synchronous iterators"),
]
PATHS = ("economics/", *(f"economics/{name}/" for name in ("retention", "funnel", "acquisition", "margin")))


def two_years(year: int) -> None:
    """Enough to draw: some grow, some shrink, some leave, one comes back, one pays for ten thousand seats."""
    for number in range(10):
        person, began = make_person(f"drawn{number}"), 1 + number % 6
        changed(person, start_of(dt.date(year, began, 3 + number)))
        if number % 2:
            changed(person, start_of(dt.date(year, began + 4, 9)), plan="team", seats=10_000 if number == 9 else 1)
        if number % 3 == 1:
            changed(person, start_of(dt.date(year, began + 5, 9)), status="canceled")
        if number == 4:
            changed(person, start_of(dt.date(year + 1, 2, 9)))
        if number == 3:
            changed(person, start_of(dt.date(year + 1, 1, 9)), plan="developer")


@pytest.mark.parametrize(("width", "theme"), [(1440, "light"), (390, "dark")])
def test_axe_finds_nothing_on_the_economics_pages_and_nothing_scrolls_sideways(
    site: str, chromium: Any, ada: Person, width: int, theme: str
) -> None:
    year = next(YEARS)
    two_years(year)
    context = audited(chromium, reduced_motion="reduce", color_scheme=theme, viewport={"width": width, "height": 900})
    signed_in(context, site, ada, door.COOKIE)
    problems: list[str] = []
    for path in PATHS:
        for month in (f"{year + 1}-04", f"{year}-01", "1066-10") if path == PATHS[0] else (f"{year + 1}-04",):
            seen = visit(context, f"{site}/staff/{path}?month={month}")
            problems += seen.complaints if month != "1066-10" else []
            if AXE.exists():
                problems += [f"{path}: {one}" for one in seen.page.evaluate(AUDIT, RULES)]
            for narrower in (390, 320) if width == 390 else (width,):
                seen.page.set_viewport_size({"width": narrower, "height": 900})
                if extra := sideways(seen.page):
                    problems.append(f"{path}{month} scrolls sideways by {extra} px at {narrower}")
            seen.page.close()
    context.close()
    assert not problems, "\n".join(problems)
    if not AXE.exists():
        pytest.skip("the rest holds, but axe-core is not installed (cd frontend && npm ci)")
