"""A running Stripe emulator, as tests use it."""

import json
import re
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import stripe

ROOT = Path(__file__).resolve().parents[2]
KEY = "sk_test_emulator_tests"
SECRET = "whsec_tests"
THIN = "whsec_thin_tests"
GOOD, DECLINED, BROKE, LATER = "4242424242424242", "4000000000000002", "4000000000009995", "4000000000000341"
SUCCESS, CANCEL = "http://localhost:8000/back?session={CHECKOUT_SESSION_ID}", "http://localhost:8000/pricing"


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Leave redirects to the test."""

    def redirect_request(self, *args: Any) -> None:
        """Do not follow."""


class Emulator:
    """The process, and short words for what tests do with it."""

    def __init__(self, data: Path, *options: str, port: int = 0) -> None:
        self.data = data
        command = [sys.executable, "-m", "billing.stripe_emulator", "--debug", "--strict"]
        self.process = subprocess.Popen(
            [*command, "--port", str(port), "--data", str(data), *options], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.search(r"http://\S+", line)
        assert found, f"the emulator did not start: {line!r}"
        self.url = found[0]
        self.client = stripe.StripeClient(KEY, base_addresses={"api": self.url}, max_network_retries=0)
        self.v1 = self.client.v1

    def stop(self, *, kill: bool = False) -> None:
        """End it, politely or not."""
        if kill:
            self.process.kill()
        else:
            self.process.terminate()
        self.process.wait(10)
        if self.process.stdout:
            self.process.stdout.close()

    def control(self, path: str = "", body: Any = None) -> dict[str, Any]:
        """One call of `/_ctl`."""
        request = urllib.request.Request(
            f"{self.url}/_ctl{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {KEY}"},
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            answer: dict[str, Any] = json.load(response)
        return answer

    def advance(self, *, days: float = 0, seconds: int = 0) -> None:
        """Move its clock."""
        self.control("/clock", {"advance": int(days * 86400) + seconds})

    def page(self, url: str, form: dict[str, str] | None = None) -> tuple[int, str, dict[str, str]]:
        """Fetch a page, or press a button: (status, text, headers). Redirects are not followed."""
        data = None if form is None else urllib.parse.urlencode(form).encode()
        opener = urllib.request.build_opener(NoRedirect)
        try:
            with opener.open(urllib.request.Request(url, data=data), timeout=30) as response:
                return response.status, response.read().decode(), dict(response.headers)
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(), dict(error.headers)

    def pay(self, url: str, number: str = GOOD, email: str = "buyer@example.com") -> tuple[int, str, dict[str, str]]:
        """Fill in a Checkout page."""
        form = {"number": number, "expiry": "12/40", "cvc": "123", "email": email, "name": "Ada"}
        return self.page(url, form)

    def price(self, cents: int = 2900, interval: str = "month", **more: Any) -> stripe.Price:
        """A recurring price of a product of its own."""
        return self.v1.prices.create(
            {
                "currency": "usd",
                "unit_amount": cents,
                "recurring": {"interval": interval},
                "product_data": {"name": f"Plan {cents}"},
                **more,
            }
        )

    def customer(self, card: str | None = "pm_card_visa") -> stripe.Customer:
        """A customer, with a default card if one is named."""
        customer = self.v1.customers.create({"email": "ada@example.com", "name": "Ada"})
        if card:
            method = self.v1.payment_methods.attach(card, {"customer": customer.id})
            settings = {"default_payment_method": method.id}
            customer = self.v1.customers.update(customer.id, {"invoice_settings": settings})
        return customer

    def subscribe(self, cents: int = 2900, card: str = "pm_card_visa", **more: Any) -> stripe.Subscription:
        """A subscription of a new customer."""
        customer = self.customer(card)
        items = [{"price": self.price(cents).id}]
        return self.v1.subscriptions.create({"customer": customer.id, "items": items, **more})

    def events(self, **params: Any) -> list[stripe.Event]:
        """Its log, oldest first."""
        return list(self.v1.events.list({"limit": 100, **params}).auto_paging_iter())[::-1]

    def event_types(self, of: str) -> list[str]:
        """Types of the events about one object, or one customer's objects."""
        found = [(event.type, event.data.object) for event in self.events()]
        return [kind for kind, obj in found if obj["id"] == of or ("customer" in obj and obj["customer"] == of)]


def wait_for(condition: Any, seconds: float = 10) -> Any:
    """Poll until a condition gives something."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


def of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """The body of a fixture `emulator`: one that a module may move the clock of, or read everything of."""
    running = Emulator(tmp_path_factory.mktemp("stripe"))
    yield running
    running.stop()
