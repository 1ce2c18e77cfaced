"""Lists, idempotency, expansion, metadata: what every object shares."""

import pytest
import stripe

from billing.stripe_emulator.contract.shapes import shape_problems
from tests.billing.emulated import Emulator


def test_the_same_key_with_the_same_parameters_gives_the_first_answer(emulator: Emulator) -> None:
    options: stripe.RequestOptions = {"idempotency_key": "once-1"}
    first = emulator.v1.customers.create({"name": "Ada"}, options)
    again = emulator.v1.customers.create({"name": "Ada"}, options)
    assert first.id == again.id


def test_the_same_key_with_other_parameters_is_refused(emulator: Emulator) -> None:
    options: stripe.RequestOptions = {"idempotency_key": "once-2"}
    emulator.v1.customers.create({"name": "Ada"}, options)
    with pytest.raises(stripe.IdempotencyError):
        emulator.v1.customers.create({"name": "Bob"}, options)


def test_a_refused_card_is_replayed_too(emulator: Emulator) -> None:
    options: stripe.RequestOptions = {"idempotency_key": "once-3"}
    params: stripe.params.PaymentIntentCreateParams = {
        "amount": 500,
        "currency": "usd",
        "payment_method": "pm_card_chargeDeclined",
        "confirm": True,
    }
    intents = []
    for _ in range(2):
        with pytest.raises(stripe.CardError) as caught:
            emulator.v1.payment_intents.create(params, options)
        intents.append(caught.value.json_body["error"]["payment_intent"]["id"])
    assert intents[0] == intents[1]
    assert emulator.v1.payment_intents.retrieve(intents[0]).status == "requires_payment_method"


def test_a_wrong_parameter_does_not_use_the_key_up(emulator: Emulator) -> None:
    options: stripe.RequestOptions = {"idempotency_key": "once-4"}
    with pytest.raises(stripe.InvalidRequestError):
        emulator.v1.customers.create({"nmae": "Ada"}, options)  # type: ignore[typeddict-unknown-key]
    assert emulator.v1.customers.create({"name": "Ada"}, options).name == "Ada"


def test_lists_page_in_both_directions(emulator: Emulator) -> None:
    product = emulator.v1.products.create({"name": "Pages"})
    made = [
        emulator.v1.prices.create({"product": product.id, "currency": "usd", "unit_amount": n}).id for n in range(1, 8)
    ][::-1]
    first = emulator.v1.prices.list({"product": product.id, "limit": 3})
    assert [price.id for price in first.data] == made[:3]
    assert first.has_more
    second = emulator.v1.prices.list({"product": product.id, "limit": 3, "starting_after": made[2]})
    assert [price.id for price in second.data] == made[3:6]
    back = emulator.v1.prices.list({"product": product.id, "limit": 2, "ending_before": made[3]})
    assert [price.id for price in back.data] == made[1:3]
    assert back.has_more
    assert [price.id for price in first.auto_paging_iter()] == made


def test_lists_filter_by_field_and_time(emulator: Emulator) -> None:
    customer = emulator.v1.customers.create({"email": "filter@example.com"})
    assert [c.id for c in emulator.v1.customers.list({"email": "filter@example.com"}).data] == [customer.id]
    created = {"gte": customer.created - 1, "lt": customer.created + 5}
    assert customer.id in [c.id for c in emulator.v1.customers.list({"created": created, "limit": 100}).data]
    assert emulator.v1.customers.list({"created": {"gt": customer.created + 100}}).data == []


@pytest.mark.parametrize("params", [{"limit": 0}, {"limit": 101}, {"starting_after": "price_nobody"}])
def test_a_page_that_cannot_be_is_refused(emulator: Emulator, params: dict[str, object]) -> None:
    with pytest.raises(stripe.InvalidRequestError):
        emulator.v1.prices.list(params)  # type: ignore[arg-type]


def test_expand_puts_objects_in_place_of_ids(emulator: Emulator) -> None:
    subscription = emulator.subscribe()
    found = emulator.v1.subscriptions.retrieve(
        subscription.id, {"expand": ["customer", "latest_invoice.payments.data.payment.payment_intent"]}
    )
    assert found.customer.email == "ada@example.com"  # type: ignore[union-attr]
    assert found.latest_invoice.payments.data[0].payment.payment_intent.status == "succeeded"  # type: ignore[union-attr]


def test_expanding_what_cannot_be_is_refused(emulator: Emulator) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="cannot be expanded"):
        emulator.v1.customers.create({"expand": ["shoes"]})


def test_metadata_merges_and_unsets(emulator: Emulator) -> None:
    customer = emulator.v1.customers.create({"metadata": {"a": "1", "b": "2"}})
    changed = emulator.v1.customers.update(customer.id, {"metadata": {"a": "", "c": "3"}})
    assert changed.metadata.to_dict() == {"b": "2", "c": "3"}  # type: ignore[union-attr]
    assert emulator.v1.customers.update(customer.id, {"metadata": ""}).metadata.to_dict() == {}  # type: ignore[union-attr]


def test_a_deleted_customer_answers_that_it_is_deleted(emulator: Emulator) -> None:
    customer = emulator.v1.customers.create({})
    assert emulator.v1.customers.delete(customer.id).deleted
    assert emulator.v1.customers.retrieve(customer.id).deleted
    with pytest.raises(stripe.InvalidRequestError):
        emulator.v1.customers.update(customer.id, {"name": "x"})


def test_a_lookup_key_belongs_to_one_price(emulator: Emulator) -> None:
    first = emulator.price(100, lookup_key="only_one")
    with pytest.raises(stripe.InvalidRequestError, match="already uses that lookup key"):
        emulator.price(200, lookup_key="only_one")
    second = emulator.price(200, lookup_key="only_one", transfer_lookup_key=True)
    assert [p.id for p in emulator.v1.prices.list({"lookup_keys": ["only_one"]}).data] == [second.id]
    assert emulator.v1.prices.retrieve(first.id).lookup_key is None


def test_events_say_what_changed(emulator: Emulator) -> None:
    customer = emulator.v1.customers.create({"name": "Before"})
    emulator.v1.customers.update(customer.id, {"name": "After"})
    emulator.v1.customers.update(customer.id, {"name": "After"})
    found = [e for e in emulator.events() if e.data.object["id"] == customer.id]
    assert [event.type for event in found] == ["customer.created", "customer.updated"]
    assert found[1].data.previous_attributes["name"] == "Before"  # type: ignore[index]
    assert found[1].data.object["name"] == "After"
    assert emulator.v1.events.list({"types": ["customer.created"], "limit": 1}).data[0].type == "customer.created"


def test_every_event_holds_an_object_that_the_sdk_knows(emulator: Emulator) -> None:
    emulator.subscribe()
    for event in emulator.events():
        assert shape_problems(event.to_dict(for_json=True)) == []
        assert shape_problems(event.data.object.to_dict(for_json=True)) == [], event.type
