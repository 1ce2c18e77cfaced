"""The fleet page in a real browser: engines in every standing, and one that has been tried and holds models."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from kit.clock import now
from ops import door
from serving.models import Replica
from tests.browser import AXE
from tests.conftest import Person
from tests.console.audit import AUDIT, RULES, audited
from tests.console.pages import sideways, signed_in, visit

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume synchronous iterators"),
]
FACTS = {
    "bases": ["all-MiniLM-L6-v2", "a-base-with-a-rather-long-name-that-somebody-chose-for-it"], "backend": "openvino",
    "precision": "bf16", "load": 37, "expected_wait_s": 0.4, "requests": 48_120_331, "p50_ms": 4.2, "p95_ms": 18.7,
    "models": 212, "free_bytes": 3 << 30,
}  # fmt: skip


def engines_made() -> None:
    """Engines that serve, leave, and were not heard of for long."""
    Replica.objects.all().delete()
    for number in range(4):
        Replica.objects.create(
            name=f"engine-{number}-of-a-machine-with-a-long-name",
            address=f"tcp://10.0.0.{number}:7000",
            pool="shared" if number < 3 else f"dep_{number:032x}",
            draining=number == 1,
            facts=FACTS,
            seen_at=now() - dt.timedelta(minutes=10 * (number == 2)),
        )


@pytest.mark.parametrize(("width", "theme"), [(1440, "light"), (390, "dark")])
def test_axe_finds_nothing_on_the_fleet_page_and_nothing_scrolls_sideways(
    site: str, chromium: Any, ada: Person, width: int, theme: str
) -> None:
    engines_made()
    context = audited(chromium, reduced_motion="reduce", color_scheme=theme, viewport={"width": width, "height": 900})
    signed_in(context, site, ada, door.COOKIE)
    seen = visit(context, f"{site}/staff/fleet/")
    assert seen.page.locator("h2", has_text="Engines").count() == 1
    engines = seen.page.locator("section", has=seen.page.get_by_role("heading", name="Engines", exact=True))
    assert engines.get_by_text("Drain…").count() == 3, "the one that leaves cannot be asked again"
    problems = list(seen.complaints)
    if AXE.exists():
        problems += seen.page.evaluate(AUDIT, RULES)
    for narrower in (390, 320) if width == 390 else (width,):
        seen.page.set_viewport_size({"width": narrower, "height": 900})
        if extra := sideways(seen.page):
            problems.append(f"scrolls sideways by {extra} px at {narrower}")
    context.close()
    Replica.objects.all().delete()
    assert not problems, "\n".join(problems)
    if not AXE.exists():
        pytest.skip("the rest holds, but axe-core is not installed (cd frontend && npm ci)")
