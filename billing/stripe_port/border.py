"""The border to Stripe, and the only module that imports it: once it is used, for every process of the product
imports this package, few of them ever pay, and the client with what it brings is a tenth of their start.

Answers are plain JSON-able dicts, errors are ours. In development the address is the local emulator's.
"""

import contextlib
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from django.conf import settings

from billing.errors import CardRefused, PaymentsAway, SignatureWrong, StripeKnown, StripeMissing, StripeRefused

if TYPE_CHECKING:
    import stripe

logger = logging.getLogger(__name__)

TIMEOUT = 8.0
"""Seconds; a page waits no longer for the provider."""
RETRIES = 2
TOLERANCE = 300
"""Seconds a webhook's signature stays good."""
PAGE = 100
BUSY = ("idempotency_key_in_use", "lock_timeout")
"""The same request, or another one on the same object, is being worked on: ask again later."""
NO_TAX_ID = (
    "This is no tax id of that kind. Check the kind, the letters of the country in front where it has them, and each "
    "digit."
)
KNOWN = ("duplicate_meter_event", "already exists with identifier")
"""How Stripe says, in its code or in its sentence, that usage came before."""
NOT_SIGNED = "The signature does not fit the body. Check the endpoint's signing secret and the server's clock."

Json = dict[str, Any]


class Face:
    """One side of the port; all sides of one port share its client."""

    def __init__(self, key: str, base: str = "") -> None:
        import stripe

        self._client = stripe.StripeClient(
            key,
            stripe_version=settings.STRIPE_API_VERSION,
            base_addresses={"api": base, "files": base, "connect": base, "meter_events": base} if base else {},
            max_network_retries=RETRIES,
            http_client=stripe.RequestsClient(timeout=TIMEOUT),
        )
        self.v1 = self._client.v1


def write(key: str) -> dict[str, Any]:
    """How a write goes out: once under its key, and only once now, because the outbox tries again."""
    return {"idempotency_key": key, "max_network_retries": 0}


@contextlib.contextmanager
def border() -> Iterator[None]:
    """Stripe's errors become ours here and nowhere else."""
    import stripe

    try:
        yield
    except stripe.CardError as error:
        raise CardRefused(
            f"The card was refused: {error.user_message or 'the bank gave no reason'} Nothing was charged; "
            "use another card or ask your bank.",
            code=error.code,
        ) from error
    except stripe.InvalidRequestError as error:
        if error.code in BUSY:
            logger.warning("stripe is still at work on this: %s", error.code)
            raise PaymentsAway from error
        if error.code == "resource_missing" or error.http_status == 404:
            raise StripeMissing(f"The payment provider knows no such object ({error.param}).") from error
        if error.code == "tax_id_invalid":
            raise StripeRefused(NO_TAX_ID, param="value") from error
        if error.code == KNOWN[0] or KNOWN[1] in str(error.user_message or error):
            raise StripeKnown("The payment provider has this usage already.") from error
        logger.error("stripe refused a request: %s (param %s)", error.user_message, error.param)
        raise StripeRefused(f"The payment provider refused this: {error.user_message}", param=error.param) from error
    except stripe.IdempotencyError as error:
        if error.code in BUSY:
            raise PaymentsAway from error
        raise StripeRefused("The same payment request is already under way with other values.") from error
    except stripe.StripeError as error:
        logger.warning("stripe is away: %s", type(error).__name__)
        raise PaymentsAway from error


def plain(obj: "stripe.StripeObject") -> Json:
    """An answer as a dict."""
    return obj.to_dict(for_json=True)


def signature_check(body: bytes, signature: str, secret: str) -> None:
    """SignatureWrong unless the body was signed with the secret within the last minutes."""
    import stripe

    try:
        stripe.WebhookSignature.verify_header(body.decode("utf-8"), signature, secret, TOLERANCE)
    except (stripe.SignatureVerificationError, UnicodeDecodeError, ValueError, IndexError) as error:
        raise SignatureWrong(NOT_SIGNED) from error
