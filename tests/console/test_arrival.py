"""How pages arrive: with their words before any script, and light."""

from typing import Any

import pytest

from tests.console.pages import paths, signed_in, tour

pytestmark = [
    pytest.mark.browser,
    pytest.mark.usefixtures("style_guide"),
    # WhiteNoise hands files out synchronously; under ASGI Django remarks on it, and the files are small.
    pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume synchronous iterators"),
]


@pytest.mark.slow
def test_every_page_says_its_content_without_script(site: str, chromium: Any, owner: Any) -> None:
    context = chromium.new_context(viewport={"width": 1440, "height": 900}, java_script_enabled=False)
    signed_in(context, site, owner)
    problems, places = [], paths(owner)
    for path, seen in zip(places, tour(context, [site + path for path in places]), strict=True):
        if not seen.page.locator("h1").first.is_visible():
            problems.append(f"{path}: no heading")
        if seen.page.locator(".js-only:visible").count():
            problems.append(f"{path}: shows what only script can do")
        for drawing in seen.page.locator(".plot > svg").all():
            if not drawing.is_visible():
                problems.append(f"{path}: a chart is not drawn")
    context.close()
    assert not problems, "\n".join(problems)


def test_a_page_stays_within_its_weight(site: str, chromium: Any, owner: Any) -> None:
    context = chromium.new_context()
    signed_in(context, site, owner)
    page = context.new_page()
    sizes: list[int] = []
    page.on("response", lambda r: sizes.append(len(r.body())) if r.ok else None)
    page.goto(site + owner.workspace + "/", wait_until="networkidle")
    context.close()
    assert sum(sizes) < 300_000, "uncompressed; about 100 kB on the wire"
