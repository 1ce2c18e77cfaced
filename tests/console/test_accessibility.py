"""Every page in a real browser: axe finds nothing, the policy holds, nothing scrolls sideways, script is optional."""

from typing import Any

import pytest

from tests.browser import AXE
from tests.conftest import make_person
from tests.console import things
from tests.console.pages import PUBLIC, sideways, signed_in, visit
from tests.console.places import PLACES

pytestmark = [
    pytest.mark.browser,
    # WhiteNoise hands files out synchronously; under ASGI Django remarks on it, and the files are small.
    pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume synchronous iterators"),
]

TAGS = ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"]
EVERYTHING = {"type": "tag", "values": TAGS}
COLOURS = {"type": "rule", "values": ["color-contrast"]}
AUDITS = ((1440, "light", EVERYTHING), (1440, "dark", COLOURS), (390, "dark", EVERYTHING), (390, "light", COLOURS))
"""Everything once wide and once narrow; what the theme alone changes, in the other combinations."""
AUDIT = """async (runOnly) => {
  const result = await axe.run(document, {runOnly});
  const where = (nodes) => nodes.slice(0, 3).map(n => n.target.join(" ")).join(" | ");
  return result.violations.map(v => `${v.id}: ${v.help} → ${where(v.nodes)}`);
}"""
SHIFTS = """window.moved = 0;
new PerformanceObserver((list) => list.getEntries().forEach((entry) => { moved += entry.value; }))
  .observe({type: "layout-shift", buffered: true});"""


@pytest.fixture(scope="module")
def owner() -> Any:
    """Somebody with one of everything."""
    person = make_person("ada")
    for place in PLACES:
        place.prepare(person)
    return person


@pytest.fixture(autouse=True)
def _development(settings: Any) -> None:
    """The style guide exists in development only."""
    settings.DEBUG = True


def paths(owner: Any) -> list[str]:
    """Public pages, then the console's."""
    return [*PUBLIC, *(place.path(owner) for place in PLACES)]


def test_axe_finds_nothing_the_policy_holds_and_nothing_scrolls_sideways(site: str, chromium: Any, owner: Any) -> None:
    if not AXE.exists():
        pytest.skip("axe-core is not installed (cd frontend && npm ci)")
    context = chromium.new_context(reduced_motion="reduce")
    signed_in(context, site, owner)
    problems = []
    for path in paths(owner):
        seen = visit(context, site + path)
        # The browser's own tool runs the script outside the page's policy, as a tester's extension would.
        seen.page.evaluate(AXE.read_text())
        for width, theme, rules in AUDITS:
            seen.page.set_viewport_size({"width": width, "height": 900})
            seen.page.emulate_media(color_scheme=theme)
            problems += [f"{path} {width} {theme}: {p}" for p in seen.page.evaluate(AUDIT, rules)]
        for width in (390, 320):
            seen.page.set_viewport_size({"width": width, "height": 900})
            if extra := sideways(seen.page):
                problems.append(f"{path} scrolls sideways by {extra} px at {width}")
        problems += [f"{path}: {p}" for p in seen.complaints]
        seen.page.close()
    context.close()
    assert not problems, "\n".join(problems)


def test_every_page_says_its_content_without_script(site: str, chromium: Any, owner: Any) -> None:
    context = chromium.new_context(viewport={"width": 1440, "height": 900}, java_script_enabled=False)
    signed_in(context, site, owner)
    problems = []
    for path in paths(owner):
        seen = visit(context, site + path)
        if not seen.page.locator("h1").first.is_visible():
            problems.append(f"{path}: no heading")
        if seen.page.locator(".js-only:visible").count():
            problems.append(f"{path}: shows what only script can do")
        for drawing in seen.page.locator(".plot > svg").all():
            if not drawing.is_visible():
                problems.append(f"{path}: a chart is not drawn")
        seen.page.close()
    context.close()
    assert not problems, "\n".join(problems)


def test_the_keyboard_reaches_everything_and_sees_where_it_is(site: str, chromium: Any, owner: Any) -> None:
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    signed_in(context, site, owner)
    page = visit(context, site + owner.workspace + "/").page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    seen = set()
    for _ in range(25):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("document.activeElement.outerHTML.slice(0, 120)"))
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none" or page.evaluate("document.activeElement === document.body")
    assert len(seen) > 10
    page.keyboard.press("Control+k")
    assert page.locator("dialog.palette").is_visible()
    page.keyboard.type("docs")
    page.wait_for_selector("[role=option]")
    page.keyboard.press("Escape")
    assert not page.locator("dialog.palette").is_visible()
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("?")
    assert page.locator("#keys-help").is_visible()
    context.close()


def test_a_message_stands_above_the_title_on_a_narrow_page_and_floats_on_a_wide_one(site: str, chromium: Any) -> None:
    person = make_person("ada")
    for width, stays in ((390, True), (1440, False)):
        file = things.made_file(person)
        context = chromium.new_context(viewport={"width": width, "height": 900})
        signed_in(context, site, person)
        page = visit(context, site + f"{person.workspace}/files/{file.public_id}/").page
        page.clock.install()
        page.evaluate("document.querySelector('form[action$=\"/delete\"]').submit()")
        page.wait_for_selector(".toast")
        assert page.evaluate("getComputedStyle(document.querySelector('.toasts')).position") == (
            "static" if stays else "fixed"
        )
        toast, title = page.locator(".toast").bounding_box(), page.locator(".title-row").bounding_box()
        assert toast["y"] + toast["height"] <= title["y"] or toast["y"] > title["y"] + title["height"]
        page.clock.fast_forward(10_000)
        assert page.locator(".toast").count() == stays
        if stays:
            page.click("[data-dismiss]")
            assert page.locator(".toasts").count() == 0
        context.close()


def test_nothing_moves_while_a_page_arrives(site: str, chromium: Any, owner: Any) -> None:
    """The look's budget for layout shift is 0.02; script that arrives late must not show or hide anything."""
    problems = []
    for width in (390, 1440):
        context = chromium.new_context(viewport={"width": width, "height": 900})
        context.add_init_script(SHIFTS)
        signed_in(context, site, owner)
        for path in paths(owner):
            page = visit(context, site + path).page
            page.wait_for_timeout(100)
            if (moved := page.evaluate("moved")) > 0.02:
                problems.append(f"{path} at {width}: {moved:.3f}")
            page.close()
        context.close()
    assert not problems, "\n".join(problems)


def test_the_theme_is_remembered_and_written_by_the_server(site: str, chromium: Any) -> None:
    context = chromium.new_context(color_scheme="light")
    page = visit(context, site + "/").page
    page.locator("header details summary").click()
    page.get_by_role("button", name="Dark").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(16, 14, 12)"
    context.close()


def test_a_page_stays_within_its_weight(site: str, chromium: Any, owner: Any) -> None:
    context = chromium.new_context()
    signed_in(context, site, owner)
    page = context.new_page()
    sizes: list[int] = []
    page.on("response", lambda r: sizes.append(len(r.body())) if r.ok else None)
    page.goto(site + owner.workspace + "/", wait_until="networkidle")
    context.close()
    assert sum(sizes) < 300_000, "uncompressed; about 100 kB on the wire"
