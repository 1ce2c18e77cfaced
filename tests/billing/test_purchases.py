"""Credit that was bought is there once, whoever tells of the payment first and however often."""

from __future__ import annotations

import json
import threading
import uuid

import pytest
from django.db import connections

from billing.models import CreditGrant
from billing.selectors.wallet import balance_nano
from billing.services.purchases import purchase_finish, purchase_start
from billing.services.webhooks import event_handle, event_receive, stripe_sweep
from kit.errors import BadRequest, NotFound
from kit.money import CENT, NANO
from tenants.scope import tenant_scope
from tests.billing.commanded import asked
from tests.billing.emulated import DECLINED, Emulator
from tests.billing.test_credits import books, right
from tests.conftest import Cast, Person

HERE = "https://example.com/wallet"


def start(person: Person, nano: int) -> str:
    back = f"{HERE}?session={{CHECKOUT_SESSION_ID}}"
    command = asked(
        person.tenant.id, lambda: purchase_start(amount_nano=nano, success_url=back, cancel_url=HERE)
    )  # fmt: skip
    assert command.answer is not None
    return str(command.answer["url"])


def paid(person: Person, emulator: Emulator, nano: int) -> str:
    """Go through the payment as the buyer does; the session's id."""
    status, _, headers = emulator.pay(start(person, nano))
    assert status == 303
    return headers["Location"].split("session=")[1]


def told(emulator: Emulator, session_id: str) -> list[str]:
    """Deliver what Stripe says of a session; the states of the events."""
    states = []
    for event in emulator.events(type="checkout.session.completed"):
        if event.data.object["id"] == session_id:
            states.append(event_handle(event_receive(json.loads(str(event))).pk))
    return states


def balance(tenant_id: uuid.UUID) -> int:
    with tenant_scope(tenant_id):
        return balance_nano()


def test_a_payment_is_credited_once_by_page_webhook_and_sweep(cast: Cast, stripe_house: Emulator) -> None:
    owner, tenant_id = cast.owner, cast.owner.tenant.id
    session_id = paid(owner, stripe_house, 25 * NANO)
    with tenant_scope(tenant_id):
        first = purchase_finish(session_id=session_id)
        assert first is not None and purchase_finish(session_id=session_id) == first
    assert told(stripe_house, session_id) == ["done"]
    stripe_sweep()
    assert balance(tenant_id) == 25 * NANO
    assert books(tenant_id) == {"cash": 25 * NANO, "prepaid": -25 * NANO}
    right(tenant_id)


def test_the_webhook_alone_credits_it(cast: Cast, stripe_house: Emulator) -> None:
    session_id = paid(cast.owner, stripe_house, 5 * NANO)
    assert told(stripe_house, session_id) == ["done"] and told(stripe_house, session_id) == ["done"]
    assert balance(cast.owner.tenant.id) == 5 * NANO


def test_page_and_webhook_at_once_credit_it_once(cast: Cast, stripe_house: Emulator) -> None:
    session_id, failed = paid(cast.owner, stripe_house, 7 * NANO), []

    def work(job: object) -> None:
        try:
            job()  # type: ignore[operator]
        except BaseException as error:
            failed.append(error)
        finally:
            connections.close_all()

    def page() -> None:
        with tenant_scope(cast.owner.tenant.id):
            purchase_finish(session_id=session_id)

    threads = [
        threading.Thread(target=work, args=(job,))
        for job in (page, lambda: told(stripe_house, session_id), page, lambda: told(stripe_house, session_id))
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert failed == [] and balance(cast.owner.tenant.id) == 7 * NANO


def test_what_was_not_paid_is_not_credited(cast: Cast, stripe_house: Emulator) -> None:
    url = start(cast.owner, 9 * NANO)
    session_id = stripe_house.v1.checkout.sessions.list({"limit": 1}).data[0].id
    assert stripe_house.pay(url, number=DECLINED)[0] != 303
    with tenant_scope(cast.owner.tenant.id):
        assert purchase_finish(session_id=session_id) is None
        assert not CreditGrant.objects.exists()


def test_a_strangers_session_is_not_found(cast: Cast, stripe_house: Emulator) -> None:
    session_id = paid(cast.owner, stripe_house, 5 * NANO)
    paid(cast.stranger, stripe_house, 5 * NANO)
    for wrong in (session_id, "cs_test_none", "nonsense"):
        with tenant_scope(cast.stranger.tenant.id), pytest.raises(NotFound):
            purchase_finish(session_id=wrong)


@pytest.mark.parametrize("nano", [None, 0, -5 * NANO, 5 * NANO - CENT, 10_000 * NANO + CENT, 5 * NANO + 1])
def test_an_amount_nobody_can_buy_is_refused(cast: Cast, nano: int | None) -> None:
    with tenant_scope(cast.owner.tenant.id), pytest.raises(BadRequest, match="whole cents"):
        purchase_start(amount_nano=nano, success_url=HERE, cancel_url=HERE)
