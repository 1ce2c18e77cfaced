"""Customers with a time of their own: nobody else's clock moves them, and theirs moves nobody."""

import json
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
import stripe

from tests.billing.emulated import GOOD, SUCCESS, Emulator, wait_for

DAY = 86400
START = 1_800_000_000


def clock(emulator: Emulator, at: int = START) -> str:
    return emulator.v1.test_helpers.test_clocks.create({"frozen_time": at}).id


def person(emulator: Emulator, clock_id: str, card: str | None = "pm_card_visa") -> str:
    made = emulator.v1.customers.create({"test_clock": clock_id, "name": "Ada"})
    if card:
        method = emulator.v1.payment_methods.attach(card, {"customer": made.id})
        emulator.v1.customers.update(made.id, {"invoice_settings": {"default_payment_method": method.id}})
    return made.id


def subscribed(emulator: Emulator, customer: str, **more: Any) -> stripe.Subscription:
    items = [{"price": emulator.price().id}]
    return emulator.v1.subscriptions.create({"customer": customer, "items": items, **more})


def advance(emulator: Emulator, clock_id: str, to: int) -> stripe.test_helpers.TestClock:
    said = emulator.v1.test_helpers.test_clocks.advance(clock_id, {"frozen_time": to})
    assert said.status == "advancing"
    assert said.status_details.advancing is not None
    assert said.status_details.advancing.target_frozen_time == to
    return emulator.v1.test_helpers.test_clocks.retrieve(clock_id)


def period_end(subscription: stripe.Subscription) -> int:
    return int(subscription["items"]["data"][0]["current_period_end"])


def test_whatever_is_made_for_such_a_customer_is_made_in_his_time(emulator: Emulator) -> None:
    mine = clock(emulator)
    customer = person(emulator, mine)
    made = subscribed(emulator, customer)
    invoice = emulator.v1.invoices.retrieve(str(made.latest_invoice), {"expand": ["payments"]})
    assert (made.created, made.start_date, made.test_clock) == (START, START, mine)
    assert (invoice.created, invoice.status_transitions.paid_at, invoice.test_clock) == (START, START, mine)
    intent = emulator.v1.payment_intents.list({"customer": customer}).data[0]
    assert intent.created == START
    assert abs(emulator.price().created - time.time()) < 60


def test_a_checkout_page_is_paid_in_its_customers_time(emulator: Emulator) -> None:
    mine = clock(emulator)
    customer = person(emulator, mine, None)
    lines = [{"price": emulator.price().id, "quantity": 1}]
    session = emulator.v1.checkout.sessions.create(
        {"mode": "subscription", "customer": customer, "line_items": lines, "success_url": SUCCESS}
    )
    assert session.expires_at == START + DAY
    assert emulator.pay(str(session.url), GOOD)[0] == 303
    made = emulator.v1.subscriptions.list({"customer": customer}).data[0]
    assert (made.status, made.created) == ("active", START)
    unpaid = emulator.v1.checkout.sessions.create(
        {"mode": "subscription", "customer": customer, "line_items": lines, "success_url": SUCCESS}
    )
    advance(emulator, mine, START + 2 * DAY)
    assert emulator.v1.checkout.sessions.retrieve(unpaid.id).status == "expired"


def test_one_clock_moves_its_own_customers_only(clockwork: Emulator) -> None:
    first, second = clock(clockwork), clock(clockwork, START + 3 * DAY)
    mine, other = (subscribed(clockwork, person(clockwork, one)) for one in (first, second))
    nobodys = clockwork.subscribe()
    advance(clockwork, first, period_end(mine) + 7200)
    ends = [period_end(clockwork.v1.subscriptions.retrieve(one.id)) for one in (mine, other, nobodys)]
    assert ends[0] > period_end(mine)
    assert ends[1:] == [period_end(other), period_end(nobodys)]
    clockwork.advance(days=40)
    ends_now = [period_end(clockwork.v1.subscriptions.retrieve(one.id)) for one in (mine, other, nobodys)]
    assert ends_now[:2] == ends[:2]
    assert ends_now[2] > ends[2]


def test_time_goes_by_in_order_and_is_told_when_it_is_done(emulator: Emulator) -> None:
    mine = clock(emulator)
    made = subscribed(emulator, person(emulator, mine), trial_period_days=14)
    found = advance(emulator, mine, START + 14 * DAY + 7200)
    assert (found.status, found.frozen_time) == ("ready", START + 14 * DAY + 7200)
    about = [event for event in emulator.events() if event.data.object["id"] in (made.id, mine)]
    told = [(event.type, event.created - START) for event in about]
    assert ("customer.subscription.trial_will_end", 11 * DAY) in told
    assert told[-1] == ("test_helpers.test_clock.ready", 14 * DAY + 7200)
    invoice = emulator.v1.invoices.list({"subscription": made.id}).data[0]
    assert (invoice.created, invoice.status_transitions.finalized_at) == (START + 14 * DAY, START + 14 * DAY + 3600)


def test_a_clock_goes_forward_and_not_too_far(emulator: Emulator) -> None:
    mine = clock(emulator)
    for to in (START, START - 1, START + 3 * 366 * DAY):
        with pytest.raises(stripe.InvalidRequestError):
            emulator.v1.test_helpers.test_clocks.advance(mine, {"frozen_time": to})
    subscribed(emulator, person(emulator, mine))
    with pytest.raises(stripe.InvalidRequestError, match="two intervals"):
        emulator.v1.test_helpers.test_clocks.advance(mine, {"frozen_time": START + 70 * DAY})


def test_a_clock_takes_three_customers_and_lists_keep_them_apart(emulator: Emulator) -> None:
    mine = clock(emulator)
    people = [person(emulator, mine, None) for _ in range(3)]
    with pytest.raises(stripe.InvalidRequestError, match="at most 3"):
        person(emulator, mine)
    assert {one.id for one in emulator.v1.customers.list({"test_clock": mine}).data} == set(people)
    assert not set(people) & {one.id for one in emulator.v1.customers.list({"limit": 100}).data}


def test_two_clocks_do_not_meet(emulator: Emulator) -> None:
    first, second = (person(emulator, clock(emulator)) for _ in range(2))
    card = emulator.v1.customers.payment_methods.list(second).data[0].id
    with pytest.raises(stripe.InvalidRequestError, match="different test clocks"):
        emulator.v1.payment_methods.attach(card, {"customer": first})


def test_a_deleted_clock_takes_its_customers_along(emulator: Emulator) -> None:
    mine = clock(emulator)
    customer = person(emulator, mine)
    made = subscribed(emulator, customer)
    assert emulator.v1.test_helpers.test_clocks.delete(mine).deleted
    assert emulator.v1.customers.retrieve(customer).deleted
    assert emulator.v1.subscriptions.retrieve(made.id).status == "canceled"


def test_a_kill_on_the_way_is_made_good_at_the_next_start(tmp_path: Path) -> None:
    running = Emulator(tmp_path)
    mine = clock(running)
    made = subscribed(running, person(running, mine))
    to = period_end(made) + 7200
    running.stop(kill=True)
    # As if it had died between the answer and the moving.
    change = "json_set(body, '$.status', 'advancing', '$.status_details', json(?))"
    with sqlite3.connect(tmp_path / "emulator.sqlite3") as db:
        target = json.dumps({"advancing": {"target_frozen_time": to}})
        db.execute(f"UPDATE objects SET body = {change} WHERE id = ?", (target, mine))
    db.close()
    again = Emulator(tmp_path)
    try:
        wait_for(lambda: again.v1.test_helpers.test_clocks.retrieve(mine).status == "ready")
        assert period_end(again.v1.subscriptions.retrieve(made.id)) > to
        assert again.v1.invoices.list({"subscription": made.id}).data[0].status == "paid"
    finally:
        again.stop()


def test_a_file_from_before_there_were_clocks_is_taken(tmp_path: Path) -> None:
    running = Emulator(tmp_path)
    customer = running.customer().id
    running.stop()
    with sqlite3.connect(tmp_path / "emulator.sqlite3") as db:
        db.execute("ALTER TABLE objects DROP COLUMN clock")
    db.close()
    again = Emulator(tmp_path)
    try:
        assert again.v1.customers.retrieve(customer).test_clock is None
        assert subscribed(again, person(again, clock(again))).status == "active"
    finally:
        again.stop()


def test_what_belongs_to_a_charge_lives_in_its_customers_time(emulator: Emulator) -> None:
    mine = clock(emulator)
    subscribed(emulator, person(emulator, mine, "pm_card_createDispute"))
    customer = emulator.v1.customers.list({"test_clock": mine}).data[0].id
    charge = emulator.v1.charges.list({"customer": customer}).data[0].id
    dispute = emulator.v1.disputes.list({"charge": charge}).data[0]
    assert dispute.created == START
    advance(emulator, mine, START + DAY)
    note = emulator.v1.credit_notes.create(
        {
            "invoice": str(emulator.v1.invoices.list({"customer": customer}).data[0].id),
            "amount": 100,
            "credit_amount": 100,
        }
    )
    assert note.created == START + DAY
