"""Whatever is sent, the answer is never a 500, and every answer fits the SDK's types."""

import json
import os
import random
import re
import types
import typing
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import typing_extensions as te

from billing.stripe_emulator.api import Api
from billing.stripe_emulator.contract.params import _fields
from billing.stripe_emulator.contract.routes import params_class, routes
from billing.stripe_emulator.registry import HANDLERS
from billing.stripe_emulator.store import Store
from billing.stripe_emulator.world import World

HEADERS = {"Authorization": "Bearer sk_test_fuzz", "Content-Type": "application/x-www-form-urlencoded"}
KINDS = {
    "test_clock": "test_helpers.test_clock",
    "schedule": "subscription_schedule",
    "meter": "billing.meter",
    "subscription_exposed_id": "subscription",
    "intent": "payment_intent",
    "id": "credit_note",
    "transaction": "customer_balance_transaction",
    "session": "checkout.session",
    "configuration": "billing_portal.configuration",
    "item": "subscription_item",
}
# More of them are a better look, and take 3 s each.
SEEDS = int(os.environ.get("FUZZ_SEEDS", "3"))
NONSENSE = ["", "x", "-1", "0", "99999999999999", "true", "null", "é\0", "1.5", "NaN", "Infinity"]
LIKELY = ["customer", "items", "mode", "line_items", "success_url", "amount", "currency", "price", "card"]


class Fuzzer:
    """Sends forms that are nearly right, with ids of objects that exist."""

    def __init__(self, api: Api, seed: int) -> None:
        self.api = api
        self.random = random.Random(seed)
        self.ids: dict[str, list[str]] = defaultdict(list)
        self.statuses: Counter[int] = Counter()
        self.failures: list[Any] = []

    def call(self, method: str, path: str, form: dict[str, str]) -> dict[str, Any]:
        body = urlencode(form)
        post = method == "POST"
        headers = HEADERS
        if post and path.startswith("/v2/"):
            body, headers = json.dumps(form), {**HEADERS, "Content-Type": "application/json"}
        answer = self.api.call(method, path, "" if post else body, body.encode() if post else b"", headers)
        self.statuses[answer.status] += 1
        if answer.status == 500:
            self.failures.append((method, path, form))
        elif answer.status == 200 and "id" in answer.body and "object" in answer.body:
            self.ids[answer.body["object"]].append(answer.body["id"])
        return answer.body

    def people(self) -> None:
        """A customer with a card, a subscription, an invoice, a checkout. Every other one has a clock."""
        clocked = {}
        if self.random.random() < 0.5:
            clock = self.call("POST", "/v1/test_helpers/test_clocks", {"frozen_time": "1790000000"})["id"]
            clocked = {"test_clock": clock}
        customer = self.call("POST", "/v1/customers", {"email": "a@b.c", **clocked})["id"]
        card = self.call("POST", "/v1/payment_methods/pm_card_visa/attach", {"customer": customer})["id"]
        self.call("POST", f"/v1/customers/{customer}", {"invoice_settings[default_payment_method]": card})
        price = {"currency": "usd", "unit_amount": "900", "product_data[name]": "x"}
        monthly = self.call("POST", "/v1/prices", {**price, "recurring[interval]": "month"})["id"]
        self.call("POST", "/v1/prices", price)
        rate = self.call("POST", "/v1/tax_rates", {"display_name": "VAT", "percentage": "19", "inclusive": "false"})
        subscribed = {"customer": customer, "items[0][price]": monthly, "default_tax_rates[0]": rate["id"]}
        subscription = self.call("POST", "/v1/subscriptions", subscribed)
        self.call("POST", "/v1/invoices", {"customer": customer})
        self.metered(customer)
        offered = {"customer": customer, "line_items[0][price]": monthly}
        self.call("POST", f"/v1/quotes/{self.call('POST', '/v1/quotes', offered)['id']}/finalize", {})
        phase = {"phases[0][items][0][price]": monthly, "phases[1][items][0][price]": monthly}
        self.call("POST", "/v1/subscription_schedules", {"customer": customer, "start_date": "now", **phase})
        coupon = self.call("POST", "/v1/coupons", {"percent_off": "10"})["id"]
        self.call("POST", "/v1/promotion_codes", {"promotion[type]": "coupon", "promotion[coupon]": coupon})
        self.call(
            "POST", "/v1/setup_intents", {"customer": customer, "payment_method": "pm_card_authenticationRequired"}
        )
        note = {"invoice": subscription["latest_invoice"], "amount": "100", "credit_amount": "100"}
        self.call("POST", "/v1/credit_notes", note)
        charged = {"amount": "900", "currency": "usd", "payment_method": "pm_card_createDispute", "confirm": "true"}
        charge = self.call("POST", "/v1/payment_intents", charged)["latest_charge"]
        self.ids["dispute"].append(self.call("GET", "/v1/disputes", {"charge": charge})["data"][0]["id"])
        self.call("POST", f"/v1/customers/{customer}/tax_ids", {"type": "eu_vat", "value": "DE123456789"})
        self.call("POST", f"/v1/customers/{customer}/balance_transactions", {"amount": "-50", "currency": "usd"})
        line = {"line_items[0][price]": monthly, "line_items[0][quantity]": "1", "success_url": "http://x.y/"}
        self.call("POST", "/v1/checkout/sessions", {"mode": "subscription", "customer": customer, **line})

    def metered(self, customer: str) -> None:
        """A meter, a subscription that it counts for, an event, and credit for it."""
        name = f"calls_{len(self.ids['billing.meter'])}"
        counted = {"event_name": name, "display_name": name, "default_aggregation[formula]": "sum"}
        meter = self.call("POST", "/v1/billing/meters", counted)["id"]
        price = {"currency": "usd", "unit_amount": "3", "product_data[name]": "x", "recurring[interval]": "month"}
        usage = {"recurring[usage_type]": "metered", "recurring[meter]": meter}
        price_id = self.call("POST", "/v1/prices", {**price, **usage})["id"]
        self.call("POST", "/v1/subscriptions", {"customer": customer, "items[0][price]": price_id})
        event = {"event_name": name, "payload[stripe_customer_id]": customer, "payload[value]": "7"}
        self.call("POST", "/v1/billing/meter_events", event)
        money = {"amount[type]": "monetary", "amount[monetary][value]": "5", "amount[monetary][currency]": "usd"}
        scope = {"applicability_config[scope][price_type]": "metered", "customer": customer}
        self.call("POST", "/v1/billing/credit_grants", {**money, **scope})

    def once(self) -> None:
        """One call of a random kind."""
        key = self.random.choice(sorted(HANDLERS))
        fields = _fields(params_class(str(routes()[key].params))) if routes()[key].params else {}
        names = [name for name, (required, _) in fields.items() if required]
        names += self.random.sample(sorted(fields), min(self.random.choice([1, 2, 4, 8]), len(fields)))
        if self.random.random() < 0.6:
            names += [name for name in LIKELY if name in fields]
        form: dict[str, str] = {}
        for name in dict.fromkeys(names):
            if name != "expand" or self.random.random() < 0.1:
                self.fill(fields[name][1], name, form)
        self.call(key[0], re.sub(r"\{([a-z_]+)\}", lambda found: self.some_id(found[1]), key[1]), form)

    def some_id(self, name: str) -> str:
        every = [found for pool in self.ids.values() for found in pool[-3:]]
        return self.random.choice(self.ids.get(KINDS.get(name, name), [])[-6:] or every)

    def fill(self, hint: Any, path: str, form: dict[str, str]) -> None:
        """Put a value of a type, or sometimes nonsense, into the form."""
        kind, members = typing.get_origin(hint), typing.get_args(hint)
        if kind in (typing.Union, types.UnionType):
            words = [member for member in members if typing.get_origin(member) is typing.Literal]
            self.fill(self.random.choice(words if words and self.random.random() < 0.7 else members), path, form)
        elif te.is_typeddict(hint):
            for name, (required, inner) in _fields(hint).items():
                if required or self.random.random() < 0.4:
                    self.fill(inner, f"{path}[{name}]", form)
        elif kind is list:
            for index in range(self.random.choice([0, 1, 1, 2])):
                self.fill(members[0], f"{path}[{index}]", form)
        elif kind is typing.Literal:
            form[path] = str(self.random.choice(members))
        elif kind is not None:
            form[f"{path}[k]"] = self.random.choice(["v", ""])
        else:
            form[path] = self.leaf(hint, path)

    def leaf(self, hint: Any, path: str) -> str:
        if self.random.random() < 0.07:
            return self.random.choice(NONSENSE)
        if hint is bool:
            return self.random.choice(["true", "false"])
        if hint is not str:
            return self.random.choice(["0", "1", "5", "100", "-3", "1700000000", "4000000000"])
        name = re.split(r"[\[\]]+", path.rstrip("]"))[-1]
        return self.some_id(name) if self.random.random() < 0.8 else self.random.choice(["usd", "http://a.b/", "text"])


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    store = Store(tmp_path / "fuzz.sqlite3")
    yield Api(World(store, "http://127.0.0.1:1"), strict=True)
    store.close()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(SEEDS))
def test_nothing_that_is_sent_breaks_it(api: Api, seed: int) -> None:
    fuzzer = Fuzzer(api, seed)
    for number in range(600):
        if number % 60 == 0:
            fuzzer.people()
        fuzzer.once()
        if number % 97 == 96:
            api.world.advance_to(api.world.now + fuzzer.random.choice([60, 86_400, 864_000, 2_678_400]))
    assert fuzzer.failures == []
    assert api.world.store.ids("test_helpers.test_clock", {"status": "internal_failure"}) == []
    assert fuzzer.statuses[200] > 100
