"""Every page on a phone, and what it shows there without scrolling: the button of a long dialog."""

from typing import Any

import pytest
from django.test import override_settings

from billing.services.entitlements import plan_grant
from tenants.scope import tenant_scope
from tests.conftest import make_person
from tests.console.audit import look_at_all
from tests.console.pages import sideways, signed_in
from tests.console.things import made_model

pytestmark = [
    pytest.mark.browser,
    pytest.mark.usefixtures("style_guide"),
    # WhiteNoise hands files out synchronously; under ASGI Django remarks on it, and the files are small.
    pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume synchronous iterators"),
]


@pytest.mark.slow
def test_every_narrow_page_in_the_dark_is_for_everybody_and_stays_where_it_is(
    site: str, chromium: Any, owner: Any
) -> None:
    look_at_all(site, chromium, owner, width=390, theme="dark")


@pytest.mark.parametrize(("width", "height"), [(390, 700), (320, 568), (1440, 700)])
def test_the_button_of_the_deploy_dialog_stays_in_view_however_much_of_the_form_is_open(
    site: str, chromium: Any, width: int, height: int
) -> None:
    person = make_person("ada")
    with tenant_scope(person.tenant.id):
        plan_grant(plan="team", reason="tests", created_by="tests")
    made_model(person)
    context = chromium.new_context(viewport={"width": width, "height": height})
    signed_in(context, site, person)
    page = context.new_page()
    with override_settings(DEDICATED_REPLICAS=10_000):
        page.goto(f"{site}{person.workspace}/deployments/")
        page.get_by_role("button", name="Deploy a model").first.click()
        dialog = page.locator("dialog#deploy")
        dialog.locator("summary").click()
        last = dialog.get_by_label("Minutes without a call")
        button = dialog.get_by_role("button", name="Deploy", exact=True)
        for part in ("the beginning", "the end"):
            assert seen(page, button), part
            assert dialog.evaluate("d => d.scrollWidth <= d.clientWidth")
            dialog.evaluate("d => d.scrollTo(0, d.scrollHeight)")
        last.focus()
        assert seen(page, last), "what is filled in is not under the buttons"
        assert not sideways(page)
    context.close()


def seen(page: Any, found: Any) -> bool:
    """Whether an element's middle is on the screen and nothing lies on it."""
    script = """e => { const r = e.getBoundingClientRect(), x = r.x + r.width / 2, y = r.y + r.height / 2;
    const top = document.elementFromPoint(x, y);
    return y > 0 && y < innerHeight && (e === top || e.contains(top)); }"""
    return bool(found.evaluate(script))
