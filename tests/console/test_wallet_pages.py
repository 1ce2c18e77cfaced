"""The wallet's page: what it shows, what it sets, and the way to the payment page and back."""

import pytest

from billing.models import TopUp
from billing.selectors.wallet import balance_nano, postpaid_nano
from billing.services.ledger import lines_post
from billing.services.metering import usage_rollup
from billing.services.topups import CONSENT, PAYABLE, topups_tidy
from kit.clock import now
from kit.money import NANO
from tenants.scope import tenant_scope
from tests.billing import topped
from tests.billing.conftest import emulator, stripe_house
from tests.billing.emulated import Emulator
from tests.billing.money import call, entitle, store_events
from tests.conftest import Cast, Person, make_person
from tests.console import things

__all__ = ["emulator", "stripe_house"]


def words(person: Person, path: str = "") -> str:
    """What the page says."""
    answer = person.browser.get(f"{person.home}/billing/wallet{path}")
    assert answer.status_code == 200
    return " ".join(answer.content.decode().split()).replace("\u00a0", " ")


def test_an_empty_wallet_says_what_it_is_for(cast: Cast) -> None:
    page = words(cast.owner)
    assert "No credit." in page and "Nothing came or went yet." in page and "Go to payment" in page


def test_it_shows_grants_in_their_order_and_what_became_of_them(cast: Cast) -> None:
    owner, tenant_id = cast.owner, cast.owner.tenant.id
    entitle(tenant_id, spend_nano=10**13)
    things.credited(owner)
    store_events([call(tenant_id, 1, cost=3 * NANO, at=now())])
    usage_rollup(tenant_id=tenant_id)
    lines_post(tenant_id=tenant_id)
    page = words(owner)
    assert "$67.00" in page and page.index("Welcome") < page.index("$50.00")
    assert "$17.00" in page and "Calls and jobs that cost money stop." in page
    table = owner.browser.get(f"{owner.home}/billing/wallet/statement.csv").content.decode().splitlines()
    assert table[0] == "day,what,credit,usage_of,amount_nano_usd,reason"
    used = [line.split(",") for line in table if ",used," in line]
    assert [line[2:5] for line in used] == [["promo", f"{now():%Y-%m}", "'-3000000000"]] or [
        line[2:5] for line in used
    ] == [["promo", f"{now():%Y-%m}", "-3000000000"]]
    assert "Paid from credit" in owner.browser.get(f"{owner.home}/billing/").content.decode()


def test_what_may_be_owed_is_set_and_lifted(cast: Cast) -> None:
    owner = cast.owner
    path = f"{owner.home}/billing/wallet/account"
    assert owner.browser.post(path, {"postpaid": "12.50"}).status_code == 302
    with tenant_scope(owner.tenant.id):
        assert postpaid_nano() == 12_500_000_000
    assert owner.browser.post(path, {"postpaid": ""}).status_code == 302
    with tenant_scope(owner.tenant.id):
        assert postpaid_nano() is None


@pytest.mark.parametrize("wrong", ["-1", "many", "1e9", "9" * 19, "1\x00", "12,50"])
def test_an_amount_nobody_can_mean_is_refused_on_the_page(cast: Cast, wrong: str) -> None:
    owner = cast.owner
    assert owner.browser.post(f"{owner.home}/billing/wallet/account", {"postpaid": wrong}).status_code == 422
    assert owner.browser.post(f"{owner.home}/billing/wallet/buy", {"amount": wrong}).status_code == 422


def test_a_viewer_reads_and_changes_nothing(cast: Cast) -> None:
    viewer = make_person("vic", beside=cast.owner, role="developer")
    for path in ("account", "buy", "slow", "top-up"):
        assert viewer.browser.post(f"{viewer.home}/billing/wallet/{path}", {"postpaid": "1"}).status_code in (403, 404)


def test_credit_is_bought_on_the_payment_page(cast: Cast, stripe_house: Emulator) -> None:
    owner = cast.owner
    away = owner.browser.post(f"{owner.home}/billing/wallet/buy", {"amount": "20"})
    assert away.status_code == 302 and away["Location"].startswith(stripe_house.url)
    status, _, headers = stripe_house.pay(away["Location"])
    assert status == 303
    back = headers["Location"].split("testserver", 1)[1]
    answer = owner.browser.get(back, follow=True)
    assert "$20.00 of credit is here." in answer.content.decode()
    with tenant_scope(owner.tenant.id):
        assert balance_nano() == 20 * NANO


def test_the_api_says_what_is_left(cast: Cast) -> None:
    assert cast.owner.api.get("/v1/billing/wallet").json() == {
        "object": "billing.wallet", "currency": "usd", "balance_usd": 0.0, "x_balance_nano": 0, "on_account_usd": None,
        "x_on_account_nano": None, "slow_below_usd": None, "x_slow_below_nano": None, "auto_top_up": None,
        "top_up_terms": CONSENT, "grants": [],
    }  # fmt: skip
    things.credited(cast.owner)
    found = cast.owner.api.get("/v1/billing/wallet").json()
    assert (found["balance_usd"], found["x_on_account_nano"]) == (70.0, 0)
    assert [(one["kind"], one["x_left_nano"], one["expires_at"] is None) for one in found["grants"]] == [
        ("promo", 20 * NANO, False), ("prepaid", 50 * NANO, True),
    ]  # fmt: skip


TOP_UP = {"below": "5", "amount": "20", "month_most": "60", "consent": "on"}


def test_top_up_is_turned_on_shown_and_turned_off(cast: Cast, stripe_house: Emulator) -> None:
    owner = cast.owner
    path = f"{owner.home}/billing/wallet/top-up"
    assert "Off. Credit is bought by hand alone." in words(owner) and "It needs a saved card" in words(owner)
    refused = owner.browser.post(path, TOP_UP)
    assert refused.status_code == 422 and "There is no saved card" in refused.content.decode()
    topped.with_card(owner, stripe_house)
    assert owner.browser.post(path, TOP_UP).status_code == 302
    page = words(owner)
    assert "$20.00 is charged to Visa 4242 when less than $5.00 of credit is left" in page
    assert f"Agreed by {owner.user.email}" in page and CONSENT.replace("'", "&#x27;") in page
    topped.fall(owner, 1, 6)
    assert "It is on its way." in words(owner)
    topped.sent(owner)
    page = words(owner)
    assert "Last: $20.00 on" in page and "Invoice as PDF" in page and "$20.00 of $60.00 this month" in page
    assert owner.browser.post(path, {"action": "stop"}).status_code == 302
    assert "Off. Credit is bought by hand alone." in words(owner)


def test_a_refused_payment_is_said_on_every_page_with_the_way_to_mend_it(cast: Cast, stripe_house: Emulator) -> None:
    owner = cast.owner
    topped.with_card(owner, stripe_house)
    topped.agreed(owner)
    stripe_house.control("/payments/fail", {"count": 1})
    topped.fall(owner, 1, 6)
    topped.sent(owner)
    page = words(owner)
    assert "Off since $20.00 could not be bought" in page and "The saved card was declined." in page
    overview = owner.browser.get(f"{owner.workspace}/").content.decode()
    assert "Automatic top-up is off: a payment failed." in overview and "Pay the invoice" in overview
    with tenant_scope(owner.tenant.id):
        TopUp.objects.update(changed_at=now() - PAYABLE)
    topups_tidy()
    topped.sent(owner)
    overview = owner.browser.get(f"{owner.workspace}/").content.decode()
    assert "Automatic top-up is off: a payment failed." in overview
    assert "Pay the invoice" not in overview + words(owner), "it is void by now"
    viewer = make_person("dev", beside=owner, role="developer")
    assert "Automatic top-up is off" not in viewer.browser.get(f"{viewer.workspace}/").content.decode()


@pytest.mark.parametrize("field", ["below", "amount", "month_most"])
@pytest.mark.parametrize("wrong", ["", "-1", "0", "1e9", "9" * 19, "20.001", "many", "12,50"])
def test_an_amount_nobody_can_agree_to_is_refused_beside_its_field(
    cast: Cast, stripe_house: Emulator, field: str, wrong: str
) -> None:
    owner = cast.owner
    answer = owner.browser.post(f"{owner.home}/billing/wallet/top-up", {**TOP_UP, field: wrong})
    assert answer.status_code == 422 and f'id="id_{field}_error' in answer.content.decode()


def test_without_agreeing_no_card_is_charged(cast: Cast, stripe_house: Emulator) -> None:
    owner = cast.owner
    answer = owner.browser.post(f"{owner.home}/billing/wallet/top-up", TOP_UP | {"consent": ""})
    assert answer.status_code == 422 and "once you have agreed" in answer.content.decode()


def test_the_pace_before_the_end_is_set_and_lifted(cast: Cast) -> None:
    owner = cast.owner
    path = f"{owner.home}/billing/wallet/slow"
    answer = owner.browser.post(path, {"slow_below": "5"})
    assert answer.status_code == 422 and "before a stop" in answer.content.decode()
    things.credited(owner)
    assert owner.browser.post(path, {"slow_below": "5"}).status_code == 302
    assert "Once $5.00 or less is left" in words(owner)
    for wrong in ("-1", "0", "1e9", "many"):
        assert owner.browser.post(path, {"slow_below": wrong}).status_code == 422
    assert owner.browser.post(path, {"slow_below": ""}).status_code == 302
    assert "Calls run at their full pace" in words(owner)
