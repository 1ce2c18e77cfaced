"""The pages of this room in a real browser: axe finds nothing, the policy holds, nothing scrolls sideways."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from customers.services.announcements import announcement_make
from customers.services.contacts import unsubscribe_link
from customers.services.fares import health_compute
from customers.services.notes import note_add, tag_add
from kit.clock import now
from ops import door
from tenants.models import Tenant
from tenants.scope import ops_scope
from tests.browser import AXE
from tests.conftest import Person
from tests.console.audit import AUDIT, RULES, audited
from tests.console.pages import sideways, signed_in, visit
from tests.customers.asking import asked_with_file
from tests.customers.test_staff_pages import calls
from tests.customers.test_surveys import is_shown, say, settled
from tests.ops.conftest import inside, make_staff

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume synchronous iterators"),
]
LONG = "A-subject-without-any-blank-that-goes-on-and-on-to-the-very-end-of-what-fits"


@pytest.fixture(scope="module")
def world() -> tuple[Person, Person, list[str], list[str]]:
    """A customer and a member of staff with something on every page, and the pages of both."""
    ada, carer = settled("ada"), inside(make_staff("carer"))
    thread, _file = asked_with_file(ada, name=f"{LONG}.csv")
    carer.browser.post(f"/staff/support/{thread.pk}/", {"text": f"{LONG * 5}\n\nIt answers again."})
    for day in range(28):
        calls(ada, 3_000 + day, dt.timedelta(days=day), cost=1_000_000)
    with ops_scope("test"):
        Tenant.ops.filter(pk=ada.tenant.pk).update(created_at=now() - dt.timedelta(days=90))
        note_add(tenant_id=ada.tenant.pk, text=f"{LONG * 3}\nTalk to Ada first.", by=f"{'a' * 60}@example.com")
        for tag in ("early-adopter", "a-tag-of-forty-letters-which-is-the-most"):
            tag_add(tenant_id=ada.tenant.pk, name=tag, by="t")
        announcement_make(title=LONG, text="It costs the same.", link="/docs/training", by="t")
    bob = settled("bob")
    is_shown(bob)
    say(bob, score="3", comment=LONG * 3)
    health_compute()
    stop = unsubscribe_link(ada.user.pk).rsplit("/", 1)[-1]
    member = [f"{ada.workspace}/", f"{ada.home}/support/{thread.public_id}/", f"/mail/unsubscribe/{stop}", "/account/"]
    staff = ["customers/", f"customers/{ada.tenant.pk}/", "support/?state=all", f"support/{thread.pk}/"]
    return ada, carer, member, [f"/staff/{one}" for one in (*staff, "announcements/", "satisfaction/")]


@pytest.mark.parametrize(("width", "theme"), [(1440, "light"), (390, "dark")])
def test_axe_finds_nothing_and_nothing_scrolls_sideways(
    site: str, chromium: Any, world: tuple[Person, Person, list[str], list[str]], width: int, theme: str
) -> None:
    ada, carer, member, staff = world
    problems: list[str] = []
    for person, paths, cookies in ((ada, member, ()), (carer, staff, (door.COOKIE,))):
        size = {"width": width, "height": 900}
        context = audited(chromium, reduced_motion="reduce", color_scheme=theme, viewport=size)
        signed_in(context, site, person, *cookies)
        for path in paths:
            seen = visit(context, f"{site}{path}")
            problems += [f"{path}: {one}" for one in seen.complaints]
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


def test_without_script_a_question_is_asked_and_answered(site: str, chromium: Any) -> None:
    ada, carer = settled("ada"), inside(make_staff("carer"))
    ada.browser.get("/")
    context = chromium.new_context(java_script_enabled=False, viewport={"width": 390, "height": 900})
    signed_in(context, site, ada)
    signed_in(context, site, carer, door.COOKIE)
    page = context.new_page()
    page.goto(f"{site}{ada.home}/support/")
    page.get_by_role("link", name="New thread").click()
    page.get_by_label("Subject").fill("May I?")
    page.get_by_label("Message").fill("Say yes.")
    page.get_by_label("File").set_input_files({"name": "a.log", "mimeType": "text/plain", "buffer": b"line"})
    page.get_by_role("button", name="Send message").click()
    place = page.url
    assert page.get_by_role("link", name="a.log").is_visible()
    page.goto(f"{site}/staff/support/")
    page.get_by_role("link", name="May I?").first.click()
    page.get_by_label("Answer", exact=True).fill("Yes.")
    page.get_by_role("button", name="Send answer").click()
    page.goto(place)
    assert page.get_by_text("Yes.", exact=True).is_visible() and page.get_by_text("Answered").first.is_visible()
    page.get_by_role("button", name="Mark as solved").click()
    assert page.get_by_text("Solved").first.is_visible()
    context.close()
