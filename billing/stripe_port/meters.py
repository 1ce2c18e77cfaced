"""Meters: made, told of usage, read."""

import datetime as dt
from collections.abc import Iterator
from typing import Any, cast

from billing.errors import StripeKnown, StripeRefused
from billing.stripe_port.border import PAGE, Face, Json, border, plain, write


class Meters(Face):
    """Usage that Stripe counts."""

    def meter_ensure(self, event_name: str, *, name: str) -> str:
        """The meter that sums the events of a name, found or made; its id."""
        found = self.meter_named(event_name)
        if found:
            return found
        params: Any = {
            "display_name": name,
            "event_name": event_name,
            "default_aggregation": {"formula": "sum"},
            "customer_mapping": {"type": "by_id", "event_payload_key": "stripe_customer_id"},
            "value_settings": {"event_payload_key": "value"},
        }
        with border():
            return self.v1.billing.meters.create(params).id

    def meter_named(self, event_name: str) -> str:
        """The id of the active meter of an event name; empty when there is none."""
        with border():
            for meter in self.v1.billing.meters.list({"status": "active", "limit": PAGE}).auto_paging_iter():
                if meter.event_name == event_name:
                    return meter.id
        return ""

    def meter_price_ensure(self, *, lookup_key: str, product_id: str, meter_id: str, cents: int, currency: str) -> str:
        """The monthly price of one unit of a meter in cents of a currency, found by its lookup key or made; its id."""
        with border():
            for price in self.v1.prices.list({"lookup_keys": [lookup_key], "active": True}).data:
                each = price.recurring
                stands = (price.unit_amount, price.currency, each and each.interval, each and each.meter)
                if stands != (cents, currency, "month", meter_id):
                    raise StripeRefused(
                        f"Stripe's price {lookup_key} is not {cents} cents of {currency.upper()} a month of the meter "
                        f"{meter_id}. Archive it there and push again."
                    )
                return price.id
            params: Any = {
                "product": product_id,
                "unit_amount": cents,
                "currency": currency,
                "recurring": {"interval": "month", "usage_type": "metered", "meter": meter_id},
                "lookup_key": lookup_key,
                "metadata": {"part": "usage"},
            }
            return self.v1.prices.create(params, {"idempotency_key": f"price-{lookup_key}-{meter_id}"}).id

    def meter_item_add(self, subscription_id: str, *, price_id: str, key: str) -> str:
        """Bill a metered price with a subscription from now on; the item's id."""
        params: Any = {"subscription": subscription_id, "price": price_id, "proration_behavior": "none"}
        with border():
            return self.v1.subscription_items.create(params, cast("Any", write(key))).id

    def meter_event_send(
        self, *, event_name: str, customer_id: str, units: int, identifier: str, at: int, key: str
    ) -> bool:
        """Tell the meter of whole units at a second since 1970; False when it knew of them already.

        An identifier counts once in a day at least, whatever key it comes under: Stripe answers the second one with
        400, which means that the first arrived.
        """
        params: Any = {
            "event_name": event_name,
            "payload": {"stripe_customer_id": customer_id, "value": str(units)},
            "identifier": identifier,
            "timestamp": at,
        }
        try:
            with border():
                self.v1.billing.meter_events.create(params, cast("Any", write(key)))
        except StripeKnown:
            return False
        return True

    def meter_counted(self, meter_id: str, *, customer_id: str, start: int, end: int) -> int:
        """Units that a meter counted for a customer in [start, end), whole minutes; some minutes behind."""
        params: Any = {"customer": customer_id, "start_time": start, "end_time": end, "limit": PAGE}
        with border():
            found = self.v1.billing.meters.event_summaries.list(meter_id, params)
            return sum(round(plain(one)["aggregated_value"]) for one in found.auto_paging_iter())

    # Thin events of the v2 API

    def thin_event_fetch(self, event_id: str) -> Json:
        """A thin event whole: what came to the door says only that there is one."""
        with border():
            return plain(self._client.v2.core.events.retrieve(event_id))

    def thin_events_since(self, moment: dt.datetime, *, types: list[str]) -> Iterator[Json]:
        """The thin events of some types from a moment on (Stripe keeps 30 days)."""
        since = f"{moment.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%S}Z"
        with border():
            found = self._client.v2.core.events.list({"types": types, "created": {"gte": since}, "limit": PAGE})
            for event in found.auto_paging_iter():
                yield plain(event)

    def thin_destinations(self) -> list[Json]:
        """Where the account sends thin events."""
        with border():
            found = self._client.v2.core.event_destinations.list({"include": ["webhook_endpoint.url"]})
            return [plain(one) for one in found.auto_paging_iter()]

    def thin_destination_make(self, url: str, *, name: str, events: list[str]) -> Json:
        """Have thin events sent somewhere; with `webhook_endpoint.signing_secret`, which Stripe says this once."""
        params: Any = {
            "name": name,
            "type": "webhook_endpoint",
            "event_payload": "thin",
            "enabled_events": events,
            "webhook_endpoint": {"url": url},
            "include": ["webhook_endpoint.signing_secret", "webhook_endpoint.url"],
        }
        with border():
            return plain(self._client.v2.core.event_destinations.create(params))
