"""What a scenario is, and the stage on which it is played: our port, what customers do, and a time of one's own."""

from __future__ import annotations

import datetime as dt
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import stripe

from billing.stripe_port import StripePort
from kit.ids import new_id

Facts = dict[str, Any]
DAY = 86400


def fresh() -> str:
    """A key or a name that nobody has used."""
    return secrets.token_hex(16)


@dataclass
class Scene:
    """One scenario's customer in the time of a test clock of its own, at a Stripe reached through our port."""

    port: StripePort
    client: stripe.StripeClient
    start: int = field(default_factory=lambda: int(time.time()))
    kept: dict[str, Any] = field(default_factory=dict)

    @property
    def v1(self) -> Any:
        """What the port has no word for: what customers do, and staff."""
        return self.client.v1

    # A time of one's own

    def clock(self, at: dt.datetime | None = None) -> str:
        """The scene's test clock, made when it is first asked for."""
        if "clock" not in self.kept:
            self.start = int(at.timestamp()) if at else self.start
            self.kept["clock"] = self.v1.test_helpers.test_clocks.create({"frozen_time": self.start}).id
        return str(self.kept["clock"])

    def advance(self, to: int) -> None:
        """Let it be later, and everything until then be over."""
        self.v1.test_helpers.test_clocks.advance(self.clock(), {"frozen_time": to})
        end = time.monotonic() + 180
        while self.v1.test_helpers.test_clocks.retrieve(self.clock()).status != "ready":
            assert time.monotonic() < end, "the clock did not arrive"
            time.sleep(0.3)

    def next_period(self, subscription_id: str) -> None:
        """Two hours after the end of the running period: the renewal is final, and was tried."""
        self.advance(self.period(subscription_id)[1] + 7200)

    def close(self) -> None:
        """Leave nothing behind."""
        if "clock" in self.kept:
            self.v1.test_helpers.test_clocks.delete(self.kept["clock"])

    # People, plans

    def customer(self, card: str | None = "pm_card_visa", at: dt.datetime | None = None) -> str:
        """A customer of a tenant, in the scene's time, with a card that is his default."""
        tenant = {"tenant_id": str(new_id())}
        made = self.v1.customers.create({"test_clock": self.clock(at), "metadata": tenant, "email": "ada@example.com"})
        if card:
            self.card(made.id, card)
        return str(made.id)

    def card(self, customer_id: str, card: str) -> str:
        """The customer's default card from now on."""
        method = self.v1.payment_methods.attach(card, {"customer": customer_id})
        self.v1.customers.update(customer_id, {"invoice_settings": {"default_payment_method": method.id}})
        return str(method.id)

    def plan(self, cents: int, interval: str = "month") -> str:
        """A price of the catalogue, pushed as `stripe_sync` pushes it."""
        tail = secrets.token_hex(6)
        product = self.port.product_ensure(f"scene_{tail}", name=f"Plan {cents}", description="A test")
        values = {"lookup_key": f"scene_{tail}", "product_id": product, "currency": "usd", "interval": interval}
        return self.port.price_ensure(**values, cents=cents, metadata={"plan": "scene"})

    def subscribe(self, customer_id: str, price: str, **more: Any) -> str:
        """What the checkout page does when it is paid."""
        given = {"customer": customer_id, "items": [{"price": price}], **more}
        return str(self.v1.subscriptions.create(given).id)

    # Looking

    def subscription(self, subscription_id: str) -> Any:
        """The subscription as our port sees it."""
        found = self.port.subscription_fetch(subscription_id)
        assert found is not None
        return found

    def period(self, subscription_id: str) -> tuple[int, int]:
        """Start and end of the running period."""
        item = self.subscription(subscription_id)["items"]["data"][0]
        return item["current_period_start"], item["current_period_end"]

    def item(self, subscription_id: str) -> str:
        """The id of the only item."""
        return str(self.subscription(subscription_id)["items"]["data"][0]["id"])

    def invoice(self, customer_id: str) -> Any:
        """The newest invoice as our port sees it."""
        found = self.port.invoice_fetch(self.port.invoice_ids(customer_id)[0])
        assert found is not None
        return found


@dataclass(frozen=True)
class Step:
    """A named step, and what is true after it."""

    name: str
    do: Callable[[Scene], Facts]
    expects: Facts


SCENARIOS: dict[str, list[Step]] = {}


def step(scenario: str, name: str, **expects: Any) -> Callable[[Callable[[Scene], Facts]], Callable[[Scene], Facts]]:
    """Add a step to a scenario: it gives the facts that are compared with what is expected."""

    def note(do: Callable[[Scene], Facts]) -> Callable[[Scene], Facts]:
        SCENARIOS.setdefault(scenario, []).append(Step(name, do, expects))
        return do

    return note


@dataclass(frozen=True)
class Result:
    """What became of one step: the facts, or the error instead of them."""

    scenario: str
    step: str
    expected: Facts
    seen: Facts

    @property
    def fine(self) -> bool:
        """Whether it is as expected."""
        return self.seen == self.expected


def play(scenario: str, scene: Scene) -> list[Result]:
    """Take a scenario's steps in order. After an error the rest is not reached."""
    results, broken = [], False
    try:
        for one in SCENARIOS[scenario]:
            seen: Facts = {"not": "reached"}
            if not broken:
                try:
                    seen = one.do(scene)
                except (stripe.StripeError, AssertionError, LookupError, TypeError) as error:
                    seen, broken = {"error": f"{type(error).__name__}: {error}"[:200]}, True
            results.append(Result(scenario, one.name, one.expects, seen))
    finally:
        scene.close()
    return results
