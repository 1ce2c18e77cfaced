"""The wallet's page: what it shows, what it sets, and the way to the payment page and back."""

import pytest

from billing.selectors.wallet import balance_nano, postpaid_nano
from billing.services.ledger import lines_post
from billing.services.metering import usage_rollup
from kit.clock import now
from kit.money import NANO
from tenants.scope import tenant_scope
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
    for path in ("account", "buy"):
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
        "object": "billing.wallet", "balance_usd": 0.0, "x_balance_nano": 0, "on_account_usd": None,
        "x_on_account_nano": None, "grants": [],
    }  # fmt: skip
    things.credited(cast.owner)
    found = cast.owner.api.get("/v1/billing/wallet").json()
    assert (found["balance_usd"], found["x_on_account_nano"]) == (70.0, 0)
    assert [(one["kind"], one["x_left_nano"], one["expires_at"] is None) for one in found["grants"]] == [
        ("promo", 20 * NANO, False), ("prepaid", 50 * NANO, True),
    ]  # fmt: skip
