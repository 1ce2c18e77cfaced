"""What pages of money look like in a browser: a wide table that fits, dialogs that open."""

import os
from pathlib import Path
from typing import Any

import pytest

from billing.models import BillingCustomer, Invoice, Subscription
from kit.clock import now
from tenants.scope import tenant_scope
from tests.billing.test_ladder import owe
from tests.conftest import Person, make_person
from tests.console.billed import made_invoice, made_usage
from tests.console.pages import sideways, signed_in

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume synchronous iterators"),
]
PICTURES = os.environ.get("MONEY_PICTURES", "")


@pytest.fixture(scope="module")
def busy() -> Person:
    """Somebody with usage of every kind in two projects, a bill, a running plan, and a name for invoices."""
    from tenants.services.organisations import project_create

    ada = make_person("ada")
    made_usage(ada)
    made_invoice(ada)
    with tenant_scope(ada.tenant.id):
        project_create(name="Another project with a long name")
        Subscription.objects.create(
            stripe_id=f"sub_{ada.tenant.id.hex}", status="active", plan="developer", plan_version=5, started_at=now(),
            period_end=now(),
            raw={"items": {"data": [{"id": "si_1", "price": {"id": "price_1", "recurring": {"interval": "month"}}}]}},
        )  # fmt: skip
        BillingCustomer.objects.create(
            stripe_id=f"cus_{ada.tenant.id.hex}", email=ada.user.email, legal_name="Ada Works GmbH",
            address={"line1": "Hauptstr. 1", "city": "Berlin", "postal_code": "10115", "country": "DE"},
            tax_ids=[{"id": "txi_1", "type": "eu_vat", "value": "DE123456789", "status": "verified"}],
        )  # fmt: skip
        Invoice.objects.filter(status="open").update(due_at=None)
    return ada


def opened(site: str, chromium: Any, person: Person, path: str, width: int, theme: str = "light") -> Any:
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)
    signed_in(context, site, person)
    page = context.new_page()
    page.goto(f"{site}{person.home}/{path}")
    return page


def picture(page: Any, name: str) -> None:
    """Kept where somebody wants to look."""
    if PICTURES:
        page.screenshot(path=str(Path(PICTURES) / f"{name}.png"), full_page=True)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_table_of_events_fits_a_desk(site: str, chromium: Any, busy: Person, theme: str) -> None:
    page = opened(site, chromium, busy, "usage/events/", 1440, theme)
    picture(page, f"events-1440-{theme}")
    table = page.locator(".scroll:has(table)").first
    assert table.evaluate("t => t.scrollWidth - t.clientWidth") <= 0
    assert not sideways(page)
    page.context.close()


@pytest.mark.parametrize(("width", "theme"), [(1440, "light"), (1440, "dark"), (390, "light"), (390, "dark")])
def test_the_dialog_that_pauses_the_plan_opens_and_says_what_follows(
    site: str, chromium: Any, busy: Person, width: int, theme: str
) -> None:
    page = opened(site, chromium, busy, "billing/", width, theme)
    page.get_by_role("button", name="Pause the plan…").click()
    dialog = page.locator("dialog#pause-plan")
    assert dialog.is_visible() and "free plan apply at once" in dialog.inner_text()
    box = dialog.get_by_role("button", name="Pause plan").bounding_box()
    assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= width and box["y"] < 900
    assert not sideways(page)
    picture(page, f"pause-{width}-{theme}")
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    picture(page, f"billing-{width}-{theme}")
    page.context.close()


@pytest.mark.parametrize("width", [1440, 390])
def test_new_pages_stay_where_they_are(site: str, chromium: Any, busy: Person, width: int) -> None:
    for theme in ("light", "dark"):
        for path in ("billing/details", "billing/invoices/"):
            page = opened(site, chromium, busy, path, width, theme)
            assert not sideways(page), path
            picture(page, f"{path.strip('/').replace('/', '-')}-{width}-{theme}")
            page.context.close()


def test_the_words_about_an_overdue_invoice_fit_a_phone(site: str, chromium: Any) -> None:
    eve = make_person("eve")
    facts = {"raw": {"collection_method": "send_invoice"}, "attempt_count": 0, "due_at": now(), "number": "A-0007"}
    owe(eve, 30, hosted_url="https://pay.example.com/in_1", **facts)
    for width in (1440, 390):
        page = opened(site, chromium, eve, "billing/", width, "dark")
        assert not sideways(page) and page.get_by_role("link", name="See and pay the invoice").is_visible()
        picture(page, f"overdue-{width}")
        page.context.close()
