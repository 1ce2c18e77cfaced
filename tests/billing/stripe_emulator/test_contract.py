"""What the emulator accepts and refuses is what the installed SDK's types say."""

import sys
import urllib.request
from typing import Any

import pytest
import stripe

from billing.stripe_emulator import nouns  # noqa: F401
from billing.stripe_emulator.contract.params import params_check
from billing.stripe_emulator.contract.routes import routes
from billing.stripe_emulator.contract.shapes import OBJECT_CLASSES, shape_problems, skeleton
from billing.stripe_emulator.errors import StripeError
from billing.stripe_emulator.forms import form_decode
from billing.stripe_emulator.registry import HANDLERS, coverage
from tests.billing.emulated import KEY, Emulator


def refusal(call: Any) -> stripe.InvalidRequestError:
    with pytest.raises(stripe.InvalidRequestError) as caught:
        call()
    return caught.value


def test_an_unknown_parameter_is_stripes_400(emulator: Emulator) -> None:
    error = refusal(lambda: emulator.v1.customers.create({"emial": "a@b.c"}))
    assert (error.http_status, error.code, error.param) == (400, "parameter_unknown", "emial")
    assert error.user_message == "Received unknown parameter: emial"


def test_an_unknown_nested_parameter_is_named_with_its_path(emulator: Emulator) -> None:
    price = {"price": "price_x", "amount": 3}
    error = refusal(lambda: emulator.v1.subscriptions.create({"customer": "cus_x", "items": [price]}))
    assert error.param == "items[0][amount]"


def test_a_missing_parameter_is_named(emulator: Emulator) -> None:
    error = refusal(lambda: emulator.v1.prices.create({"unit_amount": 5}))
    assert (error.code, error.param) == ("parameter_missing", "currency")


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"amount": "many", "currency": "usd"}, "amount"),
        ({"amount": "1.5", "currency": "usd"}, "amount"),
        ({"amount": "9" * 40, "currency": "usd"}, "amount"),
        ({"amount": 5, "currency": "usd", "confirm": "maybe"}, "confirm"),
        ({"amount": 5, "currency": "usd", "capture_method": "sometimes"}, "capture_method"),
        ({"amount": 5, "currency": ""}, "currency"),
        ({"amount": 5, "currency": "usd", "metadata": "text"}, "metadata"),
        ({"amount": 5, "currency": "usd", "payment_method_types": "card"}, "payment_method_types"),
        ({"amount": 5, "currency": {"a": "b"}}, "currency"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(emulator: Emulator, params: Any, param: str) -> None:
    assert refusal(lambda: emulator.v1.payment_intents.create(params)).param == param


@pytest.mark.parametrize("text", ["a[b", "a[b]c=1", "[a]=1", "a=1&a[b]=2", "a[b][c][d][e][f][g][h][i][j][k]=1"])
def test_a_name_that_is_not_well_formed_is_refused(text: str) -> None:
    with pytest.raises(StripeError):
        form_decode(text)


def test_a_form_is_decoded_into_nested_values() -> None:
    assert form_decode("items[0][price]=p&items[1][price]=q&metadata[a b]=%C3%A9&expand[]=x&expand[]=y") == {
        "items": {"0": {"price": "p"}, "1": {"price": "q"}},
        "metadata": {"a b": "é"},
        "expand": {"0": "x", "1": "y"},
    }


def test_every_parameter_type_of_the_sdk_is_understood() -> None:
    for route in routes().values():
        with pytest.raises(StripeError, match="unknown parameter: no_such_name"):
            params_check(route.params, {"no_such_name": "1"})


WHOLE = [
    "balance_transactions",
    "checkout",
    "coupons",
    "credit_notes",
    "disputes",
    "events",
    "invoice_payments",
    "invoiceitems",
    "invoices",
    "payment_methods",
    "prices",
    "promotion_codes",
    "quotes",
    "subscription_items",
    "subscription_schedules",
    "tax_rates",
    "v2 billing",
    "webhook_endpoints",
]


def test_every_handler_is_a_call_of_the_sdk() -> None:
    assert set(HANDLERS) <= set(routes())


def test_how_many_calls_of_the_sdk_are_answered(emulator: Emulator) -> None:
    """Prints the list (`pytest -s`). Families which are whole stay so; the sum never falls."""
    found = coverage()
    answered, known = (sum(numbers) for numbers in zip(*found.values(), strict=True))
    lines = [f"{family:34} {some:3} of {every:3}" for family, (some, every) in found.items()]
    sys.stdout.write("\n".join(["", *lines, f"{'all':34} {answered:3} of {known:3}", ""]))
    assert [family for family, (some, every) in found.items() if some == every] == WHOLE
    assert answered == len(HANDLERS) >= 182
    assert f"{answered} of its {known} calls" in emulator.page(emulator.url + "/")[1]


@pytest.mark.parametrize("kind", sorted(set(OBJECT_CLASSES) - {"list", "search_result", "file_upload"}))
def test_an_empty_object_of_every_kind_can_be_made(kind: str) -> None:
    assert skeleton(kind)["object"] == kind


def test_a_wrong_answer_is_noticed() -> None:
    product = {**skeleton("product"), "id": "prod_1"}
    assert shape_problems(product) == []
    assert shape_problems({**product, "surprise": 1}) == ["product: unknown field surprise"]
    assert shape_problems({**product, "active": "yes"}) == ["product.active: 'yes' is not bool"]
    assert shape_problems({key: value for key, value in product.items() if key != "name"}) == ["product: missing name"]


def test_an_unknown_id_is_404_in_the_path_and_400_in_the_body(emulator: Emulator) -> None:
    missing = refusal(lambda: emulator.v1.customers.retrieve("cus_nobody"))
    assert (missing.http_status, missing.code) == (404, "resource_missing")
    assert missing.user_message == "No such customer: 'cus_nobody'"
    given = refusal(lambda: emulator.v1.billing_portal.sessions.create({"customer": "cus_nobody"}))
    assert (given.http_status, given.param) == (400, "customer")


def test_an_id_of_another_kind_is_not_found(emulator: Emulator) -> None:
    customer = emulator.v1.customers.create({})
    assert refusal(lambda: emulator.v1.invoices.retrieve(customer.id)).http_status == 404


def test_a_call_it_does_not_know_says_so(emulator: Emulator) -> None:
    assert "does not know" in (refusal(lambda: emulator.v1.payouts.list()).user_message or "")


@pytest.mark.parametrize("header", [None, "Bearer ", "Bearer sk_live_123", "Bearer sk_test_", "Basic !!!", "Token x"])
def test_without_a_test_key_nothing_is_answered(emulator: Emulator, header: str | None) -> None:
    request = urllib.request.Request(
        f"{emulator.url}/v1/customers", headers={"Authorization": header} if header else {}
    )
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    with caught.value as answer:
        assert answer.code == 401


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"{}", "application/json"),
        (b"\xff\xfe=1", "application/x-www-form-urlencoded"),
        (b"a[=1", "application/x-www-form-urlencoded"),
    ],
)
def test_a_body_that_is_no_form_is_a_400(emulator: Emulator, body: bytes, kind: str) -> None:
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": kind}
    request = urllib.request.Request(f"{emulator.url}/v1/customers", data=body, headers=headers)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    with caught.value as answer:
        assert answer.code == 400


def test_another_host_name_is_refused(emulator: Emulator) -> None:
    request = urllib.request.Request(f"{emulator.url}/", headers={"Host": "evil.example"})
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    with caught.value as answer:
        assert answer.code == 421
