"""What is asked of every page in a real browser, whatever its width and theme."""

from typing import Any

import pytest

from tests.browser import AXE
from tests.conftest import Person
from tests.console.pages import paths, sideways, signed_in, tour

RULES = {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"]}
AUDIT = """async (runOnly) => {
  const result = await axe.run(document, {runOnly});
  const where = (nodes) => nodes.slice(0, 3).map(n => n.target.join(" ")).join(" | ");
  return result.violations.map(v => `${v.id}: ${v.help} → ${where(v.nodes)}`);
}"""
SHIFTS = """window.moved = 0;
new PerformanceObserver((list) => list.getEntries().forEach((entry) => { moved += entry.value; }))
  .observe({type: "layout-shift", buffered: true});"""


def audited(chromium: Any, **options: Any) -> Any:
    """A browser context whose pages know how far they moved, and axe where it is installed."""
    context = chromium.new_context(**options)
    context.add_init_script(SHIFTS)
    if AXE.exists():
        # The browser's own tool runs the script outside the page's policy, as a tester's extension would.
        context.add_init_script(path=AXE)
    return context


def look_at_all(site: str, chromium: Any, owner: Person, *, width: int, theme: str) -> None:
    """axe finds nothing, the policy holds, nothing moves and nothing scrolls sideways, on every page.

    The look's budget for layout shift is 0.02; script that arrives late must not show or hide anything.
    """
    size = {"width": width, "height": 900}
    context = audited(chromium, reduced_motion="reduce", color_scheme=theme, viewport=size)
    signed_in(context, site, owner)
    problems, places = [], paths(owner)
    for path, seen in zip(places, tour(context, [site + path for path in places]), strict=True):
        seen.page.wait_for_timeout(100)
        if (moved := seen.page.evaluate("moved")) > 0.02:
            problems.append(f"{path} moves by {moved:.3f}")
        if AXE.exists():
            problems += [f"{path}: {p}" for p in seen.page.evaluate(AUDIT, RULES)]
        for narrower in (390, 320) if width == 390 else (width,):
            seen.page.set_viewport_size({"width": narrower, "height": 900})
            if extra := sideways(seen.page):
                problems.append(f"{path} scrolls sideways by {extra} px at {narrower}")
        problems += [f"{path}: {p}" for p in seen.complaints]
        seen.page.set_viewport_size(size)
    context.close()
    assert not problems, "\n".join(problems)
    if not AXE.exists():
        pytest.skip("the rest holds, but axe-core is not installed (cd frontend && npm ci)")
