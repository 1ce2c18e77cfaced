"""Our reading of the SDK held against an independent derivation of it, and against Stripe's own sample objects."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from billing.stripe_emulator import nouns  # noqa: F401
from billing.stripe_emulator.contract.params import params_check
from billing.stripe_emulator.contract.routes import routes
from billing.stripe_emulator.contract.shapes import shape_problems
from billing.stripe_emulator.errors import StripeError
from billing.stripe_emulator.registry import HANDLERS

ROOT = Path(__file__).resolve().parents[2]
DATA = next(
    (folder for up in ROOT.parents[:2] if (folder := up / "shared" / "data" / "stripe").is_dir()), ROOT / "shared"
)
pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data/stripe of a development checkout"),
]
OURS = ["customer", "product", "price", "payment_method", "charge", "refund", "coupon", "subscription_item", "plan"]
OURS += ["subscription", "invoice", "invoiceitem", "line_item", "invoice_payment", "event", "webhook_endpoint"]
OURS += ["payment_intent", "checkout.session", "billing_portal.session", "billing_portal.configuration"]
KNOWN = {
    "billing_portal.configuration.features: missing subscription_pause",
    "invoice: unknown field subscription",
    "line_item: unknown field subscription",
}
"""Where the samples are older than the SDK: fields that went, and one that came."""

DOWNLOADS = {("GET", "/v1/quotes/{quote}/pdf")}
"""The other derivation left out what is answered with a file."""


def contract() -> Any:
    return json.loads((DATA / "contract-stripe-python-16.1.0.json").read_text())


def test_the_routes_we_serve_are_those_of_the_other_derivation() -> None:
    theirs = {(method, path) for method, path, _, _ in contract()["routes"]} | DOWNLOADS
    assert set(HANDLERS) - theirs == set()
    assert set(routes()) - theirs == set()


def test_required_and_known_parameters_agree_with_the_other_derivation() -> None:
    schemas, compared = contract()["params"], 0
    named = Counter(name.split(":")[1] for name in {route.params for route in routes().values()} if name)
    for (method, path), route in routes().items():
        name = (route.params or ":").split(":")[1]
        # The other derivation names types without their module: where two share a name it has only one of them.
        if (method, path) not in HANDLERS or name not in schemas or named[name] > 1:
            continue
        schema = schemas[name]
        for known in schema.get("properties", {}):
            try:
                params_check(route.params, {known: "x"})
            except StripeError as error:
                assert error.code != "parameter_unknown", (path, known)
        for required in schema.get("required", []):
            with pytest.raises(StripeError):
                params_check(route.params, {})
            assert required in schema["properties"]
        compared += 1
    assert compared > 30


@pytest.mark.parametrize("kind", OURS)
def test_stripes_own_samples_pass_our_check_of_shapes(kind: str) -> None:
    samples = json.loads((DATA / "fixtures3.json").read_text())["resources"]
    problems = [p for p in shape_problems(samples[kind], kind) if "is not one of" not in p]
    assert [p for p in problems if not any(p.endswith(k.split(": ")[1]) for k in KNOWN)] == []
