"""The port against a Stripe: the local emulator always, Stripe's own test mode when a key for it is there."""

import ast
import datetime as dt
import os
import secrets
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from django.test import override_settings

from billing.errors import SignatureWrong, StripeMissing, StripeRefused
from billing.stripe_port import StripePort, stripe_port
from kit.clock import now
from kit.ids import new_id
from tests.billing.emulated import KEY, Emulator

ROOT = Path(__file__).resolve().parents[2]
REAL_KEY = os.environ.get("STRIPE_TEST_KEY", "")


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """A local Stripe for this module."""
    running = Emulator(tmp_path_factory.mktemp("port"))
    yield running
    running.stop()


@pytest.fixture(params=["emulator", "stripe"])
def port(request: pytest.FixtureRequest) -> StripePort:
    """The same port, two Stripes."""
    if request.param == "emulator":
        return StripePort(KEY, request.getfixturevalue("emulator").url)
    if not REAL_KEY.startswith("sk_test_"):
        pytest.skip("needs STRIPE_TEST_KEY, a key of Stripe's test mode")
    return StripePort(REAL_KEY)


def sold(port: StripePort) -> str:
    """A price of a plan nobody else has."""
    tail = secrets.token_hex(6)
    product = port.product_ensure(f"contract_{tail}", name="Contract", description="A test")
    assert port.product_ensure(product, name="Contract", description="A test, again") == product
    values = {"lookup_key": f"contract_{tail}", "product_id": product, "currency": "usd", "interval": "month"}
    price = port.price_ensure(**values, cents=1900, metadata={"plan": "contract"})
    assert port.price_ensure(**values, cents=1900, metadata={"plan": "contract"}) == price
    with pytest.raises(StripeRefused, match="new plan version"):
        port.price_ensure(**values, cents=2000, metadata={})
    return price


def made_customer(port: StripePort) -> str:
    """A customer of a tenant of its own."""
    tenant_id = str(new_id())
    return port.customer_create(tenant_id, email="ada@example.com", name="Ada", key=f"contract-{tenant_id}")


def test_a_customer_is_made_once_per_tenant(port: StripePort) -> None:
    tenant_id = str(new_id())
    values = {"email": "ada@example.com", "name": "Ada Works", "key": f"contract-{tenant_id}"}
    began = now() - dt.timedelta(minutes=5)
    first = port.customer_create(tenant_id, **values)
    assert port.customer_create(tenant_id, **values) == first
    assert [c["id"] for c in port.customers_since(began) if c["metadata"].get("tenant_id") == tenant_id] == [first]
    found = port.customer_fetch(first)
    assert found is not None
    assert (found["email"], found["metadata"]) == ("ada@example.com", {"tenant_id": tenant_id})


def test_a_promotion_is_made_once(port: StripePort) -> None:
    tail = secrets.token_hex(4)
    product = port.product_ensure(f"contract_{tail}", name="Contract", description="A test")
    values = {"name": "A test", "months": 3, "products": [product]}
    coupon = port.coupon_ensure(f"contract_coupon_{tail}", percent_off=20, **values)
    assert port.coupon_ensure(f"contract_coupon_{tail}", percent_off=20, **values) == coupon
    with pytest.raises(StripeRefused, match="new promotion"):
        port.coupon_ensure(f"contract_coupon_{tail}", percent_off=90, **values)
    ends = now().replace(microsecond=0) + dt.timedelta(days=2)
    words = {"code": f"T{tail.upper()}", "coupon_id": coupon, "first_time": True, "most": 5, "ends_at": ends}
    assert port.promotion_code_ensure(**words) == port.promotion_code_ensure(**words)


def test_a_checkout_opens_closes_and_is_found_again(port: StripePort) -> None:
    customer = made_customer(port)
    made = port.checkout_create(
        customer_id=customer,
        price_id=sold(port),
        success_url="https://example.com/back?session={CHECKOUT_SESSION_ID}",
        cancel_url="https://example.com/",
        metadata={"tenant_id": "t", "plan": "contract", "plan_version": "1", "command": "c1"},
        key=f"contract-{customer}",
    )
    assert made["url"].startswith("http")
    assert port.checkout_fetch(made["id"])["status"] == "open"
    port.checkouts_expire(customer, but="c1")
    assert port.checkout_fetch(made["id"])["status"] == "open", "its own command's"
    port.checkouts_expire(customer, but="c2")
    assert port.checkout_fetch(made["id"])["status"] == "expired"


def test_lines_wait_for_an_invoice_and_are_added_once(port: StripePort) -> None:
    customer, begin = made_customer(port), int(dt.datetime(2026, 10, 1, tzinfo=dt.UTC).timestamp())
    key = f"contract-{secrets.token_hex(6)}"
    ids = [
        port.invoice_item_add(
            customer_id=customer,
            amount_cents=amount,
            currency="usd",
            description="Usage",
            period=[begin, begin + 31 * 86_400],
            metadata={"push": "p"},
            key=f"{key}-{amount}",
        )
        for amount in (700, 700, -100)
    ]
    assert ids[0] == ids[1] != ids[2]
    assert sorted(item["amount"] for item in port.invoice_items(customer)) == [-100, 700]
    values = {"customer_id": customer, "by_mail": True, "metadata": {"period": "2026-10"}, "key": key}
    invoice_id = port.invoice_create(**values)
    assert port.invoice_create(**values) == invoice_id
    found = port.invoice_fetch(invoice_id)
    assert found is not None
    assert (found["status"], found["total"], len(found["lines"]["data"])) == ("draft", 600, 2)
    assert port.invoice_ids(customer) == [invoice_id]


def test_what_nobody_has_is_none_or_missing(port: StripePort) -> None:
    assert port.subscription_fetch("sub_nobody") is None
    assert port.invoice_fetch("in_nobody") is None
    with pytest.raises(StripeMissing):
        port.checkout_fetch("cs_test_nobody")
    with pytest.raises(StripeMissing):
        port.portal_create(customer_id="cus_nobody", return_url="https://example.com/")


def test_the_log_tells_of_what_just_happened(port: StripePort) -> None:
    customer = made_customer(port)
    recent = port.events_since(now() - dt.timedelta(minutes=10))
    assert any(event["data"]["object"]["id"] == customer for event in recent)


def test_a_signature_of_another_scheme_is_not_believed() -> None:
    with pytest.raises(SignatureWrong):
        StripePort.webhook_read(b'{"id": "evt_1"}', "t=1,v0=abc", "whsec_x")


def test_stripe_sync_pushes_and_fetches_and_can_be_repeated(emulator: Emulator) -> None:
    with override_settings(STRIPE_SECRET_KEY=KEY, STRIPE_API_BASE=emulator.url):
        stripe_port.cache_clear()
        said = []
        for _ in range(2):
            out = StringIO()
            call_command("stripe_sync", stdout=out)
            said.append(out.getvalue())
    stripe_port.cache_clear()
    assert said[0].splitlines()[:-1] == said[1].splitlines()[:-1]
    assert any(line.startswith("developer 2 plan month usd: price_") for line in said[0].splitlines())
    assert said[1].splitlines()[-1].startswith("0 missed events")


def test_only_the_port_and_the_emulator_import_stripe() -> None:
    rooms = [ROOT / "platform", ROOT / "billing", ROOT / "tenants", ROOT / "inference"]
    importers = {
        str(file.relative_to(ROOT))
        for room in rooms
        for file in room.rglob("*.py")
        if "stripe_emulator" not in file.parts and _imports_stripe(file)
    }
    assert importers == {"billing/stripe_port/border.py"}


def _imports_stripe(file: Path) -> bool:
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.append(node.module)
        if any(name.split(".")[0] == "stripe" for name in names):
            return True
    return False
