"""What a preview of a change showed, signed, so that the change charges the same or says that it cannot."""

from django.core import signing

from billing.models import Subscription
from billing.selectors.items import seats_bought
from billing.selectors.subscriptions import plan_named, subscription_current
from kit.clock import now
from kit.errors import Conflict
from tenants.scope import current_tenant_id

SALT = "billing.plan_change"
LIFE = 900
"""Seconds for which a preview's price holds."""


def pin_make(*, plan: str, interval: str, at: int | None) -> str:
    """For a preview that counts from the second `at` (None where nothing is prorated). In the tenant's scope."""
    return signing.dumps([*_shown(plan, interval, subscription_current()), at], salt=SALT)


def pin_end() -> int:
    """Unix seconds until which a pin made now holds."""
    return int(now().timestamp()) + LIFE


def pin_read(pin: str, *, plan: str, interval: str) -> int | None:
    """The second that the preview counted from. Conflict for a pin that is old, forged, or of another change: another
    plan, another version of it, another subscription, number of seats, state, or organisation."""
    try:
        *shown, at = signing.loads(pin, salt=SALT, max_age=LIFE)
        good = shown == _shown(plan, interval, subscription_current()) and (at is None or isinstance(at, int))
    except (signing.BadSignature, ValueError, TypeError):
        good = False
    if not good:
        raise Conflict("The price shown is older than a quarter of an hour. Look at the change again.", param="pin")
    return at if at is None else int(at)


def from_what(current: Subscription | None) -> str:
    """What a price was shown for: it is another one once the subscription, its price, seats or state are."""
    if current is None:
        return ""
    return f"{current.stripe_id}/{current.price_id}/{seats_bought(current)}/{current.status}"


def _shown(plan: str, interval: str, current: Subscription | None) -> list[object]:
    return [current_tenant_id().hex, from_what(current), *plan_named(plan).key, interval]
