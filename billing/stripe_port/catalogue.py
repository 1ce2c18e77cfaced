"""Products, prices and promotions, pushed from files."""

import datetime as dt
from typing import Any

from billing.errors import StripeMissing, StripeRefused
from billing.stripe_port.border import Face, Json, border, plain


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
                each = price.recurring.interval if price.recurring else "once"
                if (price.unit_amount, price.currency, each) != (cents, currency, interval):
                    raise StripeRefused(
                        f"Stripe's price {lookup_key} is {price.unit_amount} {price.currency} ({each}), the plan file "
                        f"says {cents} {currency} ({interval}). Publish a new plan version instead of changing one."
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

    def coupon_ensure(
        self, coupon_id: str, *, name: str, percent_off: int, months: int | None, products: list[str]
    ) -> str:
        """The coupon of a promotion, made once under our own id: `months` of a subscription, 0 for one invoice, None
        for ever. It takes off nothing but these products."""
        duration = "forever" if months is None else "repeating" if months else "once"
        try:
            with border():
                found = plain(self.v1.coupons.retrieve(coupon_id, {"expand": ["applies_to"]}))
        except StripeMissing:
            params: Any = {
                "id": coupon_id,
                "name": name,
                "percent_off": percent_off,
                "duration": duration,
                "applies_to": {"products": products},
            }
            if months:
                params["duration_in_months"] = months
            with border():
                return self.v1.coupons.create(params).id
        stands = (
            int(found["percent_off"] or 0),
            found["duration"],
            found.get("duration_in_months") or 0,
            sorted((found.get("applies_to") or {}).get("products") or []),
        )
        if stands != (percent_off, duration, months or 0, sorted(products)):
            raise StripeRefused(
                f"Stripe's coupon {coupon_id} is not what its file says ({stands}). Publish a new promotion instead of "
                "changing one."
            )
        return coupon_id

    def promotion_codes(self, code: str) -> list[Json]:
        """Every promotion code of this text, over or not, with its coupon, what that applies to, and what both are in
        other currencies."""
        with border():
            coupon = "data.promotion.coupon"
            parts = (f"{coupon}.applies_to", f"{coupon}.currency_options", "data.restrictions.currency_options")
            expand = [coupon, *parts]
            return [
                plain(one) for one in self.v1.promotion_codes.list({"code": code, "expand": expand, "limit": 100}).data
            ]

    def promotion_code_ensure(
        self, *, code: str, coupon_id: str, first_time: bool, most: int, ends_at: dt.datetime
    ) -> str:
        """The code that people type for a coupon, found by itself or made; its id. One that was switched off by hand
        stays off."""
        with border():
            for found in self.v1.promotion_codes.list({"code": code, "coupon": coupon_id}).data:
                return found.id
            params: Any = {
                "code": code,
                "promotion": {"type": "coupon", "coupon": coupon_id},
                "restrictions": {"first_time_transaction": first_time},
                "max_redemptions": most,
                "expires_at": int(ends_at.timestamp()),
            }
            return self.v1.promotion_codes.create(params, {"idempotency_key": f"code-{coupon_id}-{code}"}).id
