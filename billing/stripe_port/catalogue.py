"""Products and prices, pushed from the plan files."""

from typing import Any

from billing.errors import StripeMissing, StripeRefused
from billing.stripe_port.border import Face, border


class Catalogue(Face):
    """What is sold. Amounts are cents."""

    def product_ensure(self, product_id: str, *, name: str, description: str) -> str:
        """The product of a plan, made once under our own id."""
        try:
            with border():
                self.v1.products.update(product_id, {"name": name, "description": description})
        except StripeMissing:
            with border():
                self.v1.products.create({"id": product_id, "name": name, "description": description})
        return product_id

    def price_ensure(
        self, *, lookup_key: str, product_id: str, cents: int, currency: str, interval: str, metadata: dict[str, str]
    ) -> str:
        """The price of a plan version, found by its lookup key or made; its id."""
        with border():
            for price in self.v1.prices.list({"lookup_keys": [lookup_key], "active": True}).data:
                if price.unit_amount != cents or price.currency != currency:
                    raise StripeRefused(
                        f"Stripe's price {lookup_key} is {price.unit_amount} {price.currency}, the plan file says "
                        f"{cents} {currency}. Publish a new plan version instead of changing one."
                    )
                return price.id
            params: Any = {
                "product": product_id,
                "unit_amount": cents,
                "currency": currency,
                "recurring": {"interval": interval},
                "lookup_key": lookup_key,
                "metadata": metadata,
            }
            return self.v1.prices.create(params, {"idempotency_key": f"price-{lookup_key}-{cents}-{currency}"}).id
