"""Every page in a real browser: axe finds nothing, the policy holds, nothing scrolls sideways, keys suffice."""

from typing import Any

import pytest

from tests.browser import AXE
from tests.conftest import make_person
from tests.console import things
from tests.console.audit import AUDIT, RULES, audited, look_at_all
from tests.console.pages import signed_in, visit

pytestmark = [
    pytest.mark.browser,
    pytest.mark.usefixtures("style_guide"),
    # WhiteNoise hands files out synchronously; under ASGI Django remarks on it, and the files are small.
    pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume synchronous iterators"),
]


def test_the_measures_see_a_page_that_moves_and_a_picture_without_words(chromium: Any) -> None:
    context = audited(chromium)
    page = context.new_page()
    page.goto("data:text/html,<p>words</p><img src='data:,'>")
    page.wait_for_timeout(100)
    page.evaluate("document.body.insertAdjacentHTML('afterbegin', '<div style=\"height: 300px\"></div>')")
    page.wait_for_timeout(300)
    assert page.evaluate("moved") > 0
    assert not AXE.exists() or "image-alt" in "".join(page.evaluate(AUDIT, RULES))
    context.close()


@pytest.mark.slow
def test_every_wide_page_in_the_light_is_for_everybody_and_stays_where_it_is(
    site: str, chromium: Any, owner: Any
) -> None:
    look_at_all(site, chromium, owner, width=1440, theme="light")


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


def test_the_tab_one_is_on_is_in_sight_on_a_phone(site: str, chromium: Any, owner: Any) -> None:
    context = chromium.new_context(viewport={"width": 390, "height": 900})
    signed_in(context, site, owner)
    page = visit(context, site + owner.workspace + "/jobs/?state=cancelled").page
    box = page.locator("nav.tabs > [aria-current]").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 390
    context.close()
