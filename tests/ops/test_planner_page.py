"""The planner in a real browser: with script and without, wide and narrow, light and dark."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from billing.economics import EXAMPLE
from ops import door
from ops.models import Scenario
from tests.browser import AXE
from tests.conftest import Person
from tests.console.audit import AUDIT, RULES, audited
from tests.console.pages import sideways, signed_in, visit

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume synchronous iterators"),
]
HUGE = {**EXAMPLE, "market_size": "1000000000000", "promotion_cost": "999999999999.999999999", "budget": "100000000"}
LONG = "A-name-that-somebody-chose-without-any-blank-and-that-goes-on-to-the-end-of-all"


@pytest.fixture
def kept() -> Iterator[list[Scenario]]:
    """Five scenarios, one of them with the widest name and figures."""
    rows = [Scenario(name=LONG, inputs=HUGE, created_by=f"{'a' * 60}@example.com")]
    rows += [
        Scenario(name=f"Case {number}", inputs={**EXAMPLE, "retention": f"0.{number}"}, created_by="ada@example.com")
        for number in range(4)
    ]
    Scenario.objects.bulk_create(rows)
    yield rows
    Scenario.objects.all().delete()


@pytest.mark.parametrize(("width", "theme"), [(1440, "light"), (390, "dark")])
def test_axe_finds_nothing_on_the_planners_pages_and_nothing_scrolls_sideways(
    site: str, chromium: Any, ada: Person, kept: list[Scenario], width: int, theme: str
) -> None:
    context = audited(chromium, reduced_motion="reduce", color_scheme=theme, viewport={"width": width, "height": 900})
    signed_in(context, site, ada, door.COOKIE)
    problems: list[str] = []
    chosen = urlencode({"scenario": [str(row.pk) for row in kept]}, doseq=True)
    for path in (
        "planner/",
        f"planner/?{urlencode(HUGE)}",
        f"planner/?{urlencode({**EXAMPLE, 'live': '1'})}",
        f"planner/scenarios/?{chosen}",
    ):
        seen = visit(context, f"{site}/staff/{path}")
        problems += seen.complaints
        if AXE.exists():
            problems += [f"{path}: {one}" for one in seen.page.evaluate(AUDIT, RULES)]
        for narrower in (390, 320) if width == 390 else (width,):
            seen.page.set_viewport_size({"width": narrower, "height": 900})
            if extra := sideways(seen.page):
                problems.append(f"{path} scrolls sideways by {extra} px at {narrower}")
    context.close()
    assert not problems, "\n".join(problems)
    if not AXE.exists():
        pytest.skip("the rest holds, but axe-core is not installed (cd frontend && npm ci)")


def test_without_script_a_plan_is_changed_kept_and_compared(site: str, chromium: Any, ada: Person) -> None:
    context = chromium.new_context(java_script_enabled=False, viewport={"width": 390, "height": 900})
    signed_in(context, site, ada, door.COOKIE)
    page = context.new_page()
    page.goto(f"{site}/staff/planner/")
    assert page.locator("#break-even svg").first.is_visible() and page.locator("svg.swing").count() == 13
    for name, retention in (("As many stay", "0.2"), ("None stays", "0")):
        page.get_by_label("Retention").fill(retention)
        page.get_by_role("button", name="Compute").click()
        page.get_by_label("Name", exact=True).fill(name)
        page.get_by_label("Reason").fill("to try the page")
        page.get_by_role("button", name="Save scenario").click()
        assert page.get_by_text(f"Saved: {name}.").is_visible()
    assert "$174,982,010" in page.inner_text("main")
    page.get_by_role("link", name="Scenarios").click()
    page.get_by_label("Compare As many stay").check()
    page.get_by_label("Compare None stays").check()
    page.get_by_role("button", name="Compare").click()
    assert page.get_by_role("heading", name="Side by side").is_visible()
    assert "$1,000,000,000" in page.inner_text("main")
    context.close()
    Scenario.objects.all().delete()
