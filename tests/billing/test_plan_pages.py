"""The console's plan page by the month and by the year, against the emulator."""

import re

import pytest

from billing.selectors.subscriptions import interval_of, subscription_current
from tenants.scope import tenant_scope
from tests.billing.emulated import Emulator
from tests.billing.test_plan_ways import buy
from tests.conftest import Cast


def words(text: bytes) -> str:
    """A page's text, without its tags."""
    return " ".join(re.sub(r"<[^>]+>", " ", text.decode()).split())


def test_a_yearly_plan_is_bought_and_changed_on_the_plan_page(cast: Cast, stripe_house: Emulator) -> None:
    ada = cast.owner
    page = ada.browser.get(f"{ada.home}/billing/")
    assert "Developer $29 a month" in words(page.content)
    year = ada.browser.get(f"{ada.home}/billing/?every=year")
    assert "Developer $290 a year" in words(year.content)
    assert b'name="interval" value="year"' in year.content
    go = ada.browser.post(f"{ada.home}/billing/checkout", {"plan": "developer", "interval": "year"})
    assert go.status_code == 302
    assert "$290.00" in stripe_house.page(go["Location"])[1]
    status, _, headers = stripe_house.pay(go["Location"])
    assert status == 303
    back = ada.browser.get(headers["Location"], follow=True)
    assert back.status_code == 200
    here = words(ada.browser.get(f"{ada.home}/billing/").content)
    assert "Developer $290 a year" in here, "the page shows the way it is paid"
    assert "Developer plan paid by the year $0.00" in here, "and no part of it is on this month's invoice"
    monthly = ada.browser.get(f"{ada.home}/billing/?every=month").content.decode()
    assert "plan=developer&amp;interval=month" in monthly
    preview = words(ada.browser.get(f"{ada.home}/billing/plan?plan=team&interval=year").content)
    assert "Price $290 a year $1,990 a year" in preview
    answer = ada.browser.post(f"{ada.home}/billing/plan", {"action": "change", "plan": "team", "interval": "year"})
    assert answer.status_code == 302
    with tenant_scope(ada.tenant.id):
        current = subscription_current()
        assert current is not None
        assert (current.plan, interval_of(current)) == ("team", "year")


def test_a_monthly_plan_can_be_moved_to_the_year_with_a_preview(cast: Cast, stripe_house: Emulator) -> None:
    ada = cast.owner
    buy(ada, stripe_house)
    assert "Developer $29 a month For" in words(ada.browser.get(f"{ada.home}/billing/").content)
    year = ada.browser.get(f"{ada.home}/billing/?every=year").content.decode()
    assert "plan=developer&amp;interval=year" in year
    preview = words(ada.browser.get(f"{ada.home}/billing/plan?plan=developer&interval=year").content)
    assert "Price $29 a month $290 a year" in preview
    assert "Charged now, before tax $2" in preview


@pytest.mark.parametrize("interval", ["week", "<b>", ""])
def test_an_interval_that_is_not_sold_is_an_error_that_says_so(
    cast: Cast, stripe_house: Emulator, interval: str
) -> None:
    ada = cast.owner
    assert ada.browser.get(f"{ada.home}/billing/?every={interval}").status_code == 200
    answer = ada.browser.post(f"{ada.home}/billing/checkout", {"plan": "team", "interval": interval}, follow=True)
    assert answer.status_code < 500
    assert "is not sold by the" in words(answer.content)
