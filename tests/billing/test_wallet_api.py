"""`/v1/billing/wallet`: what it says of top-up and pace, and what it changes."""

from __future__ import annotations

from typing import Any

import pytest

from billing.services.topups import CONSENT
from tenants.access import KEY_SCOPES, MONEY
from tenants.models import ApiKey
from tenants.scope import tenant_scope
from tenants.services.keys import key_create, key_scopes_set
from tests.billing.conftest import emulator, stripe_house
from tests.billing.emulated import Emulator
from tests.billing.topped import charges, sent, with_card
from tests.conftest import Cast, Person

__all__ = ["emulator", "stripe_house"]
PATH = "/v1/billing/wallet"
GOOD = {"below_usd": 5, "amount_usd": 20, "month_most_usd": 60, "consent": True}


def may(person: Person) -> None:
    with tenant_scope(person.tenant.id):
        key_scopes_set(key=ApiKey.objects.get(pk=person.key_row.pk), scopes=list(KEY_SCOPES))


def changed(person: Person, body: Any) -> tuple[int, dict[str, Any]]:
    answer = person.api.post(PATH, body, content_type="application/json")
    return answer.status_code, answer.json()


def test_a_key_changes_nothing_unless_that_was_chosen(cast: Cast) -> None:
    with tenant_scope(cast.owner.tenant.id):
        made, _secret = key_create(project=cast.owner.project, name="unasked")
        assert not MONEY & set(made.scopes)
        key_scopes_set(key=ApiKey.objects.get(pk=cast.owner.key_row.pk), scopes=made.scopes)
    status, said = changed(cast.owner, {"slow_below_usd": 5})
    assert status == 403 and "billing.write" in said["error"]["message"]


def test_top_up_is_agreed_to_and_turned_off(cast: Cast, stripe_house: Emulator) -> None:
    ada = cast.owner
    customer = with_card(ada, stripe_house, credit=1)
    may(ada)
    assert ada.api.get(PATH).json()["auto_top_up"] is None
    status, said = changed(ada, {"on_account_usd": 0, "slow_below_usd": 2.5, "auto_top_up": GOOD})
    assert (status, said["top_up_terms"], said["x_slow_below_nano"]) == (200, CONSENT, 2_500_000_000)
    auto = said["auto_top_up"]
    assert (auto["status"], auto["below_usd"], auto["last"]["status"]) == ("on", 5.0, "waiting")
    sent(ada)
    assert charges(stripe_house, customer) == [2000]
    auto = ada.api.get(PATH).json()["auto_top_up"]
    assert (auto["month_usd"], auto["last"]["status"]) == (20.0, "paid")
    status, said = changed(ada, {"auto_top_up": None, "slow_below_usd": None})
    assert (status, said["auto_top_up"]["status"], said["slow_below_usd"]) == (200, "off", None)
    assert said["on_account_usd"] == 0.0, "what is not named stays"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"amount_usd": -5}, "auto_top_up.amount_usd"),
        ({"amount_usd": 1e9}, "auto_top_up.amount_usd"),
        ({"amount_usd": 20.001}, "auto_top_up.amount_usd"),
        ({"below_usd": "5"}, "auto_top_up.below_usd"),
        ({"below_usd": 0}, "auto_top_up.below_usd"),
        ({"month_most_usd": 10}, "auto_top_up.month_most_usd"),
        ({"month_most_usd": None}, "auto_top_up.month_most_usd"),
        ({"consent": False}, "auto_top_up.consent"),
        ({"consent": "yes"}, "auto_top_up.consent"),
        ({"more": 1}, "auto_top_up.more"),
    ],
)
def test_what_cannot_be_is_named(cast: Cast, stripe_house: Emulator, change: dict[str, Any], param: str) -> None:
    may(cast.owner)
    status, said = changed(cast.owner, {"auto_top_up": GOOD | change})
    assert (status, said["error"]["param"]) == (400, param)


def test_nothing_is_changed_where_a_part_is_refused(cast: Cast, stripe_house: Emulator) -> None:
    may(cast.owner)
    status, said = changed(cast.owner, {"on_account_usd": 3, "auto_top_up": GOOD})
    assert status == 409 and "no saved card" in said["error"]["message"]
    assert cast.owner.api.get(PATH).json()["on_account_usd"] is None
