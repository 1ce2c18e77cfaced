"""The door Stripe knocks at."""

import logging

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from billing.errors import PaymentsClosed
from billing.services.webhooks import event_receive
from billing.stripe_port import StripePort
from kit.errors import ApiError, PayloadTooLarge

logger = logging.getLogger(__name__)


@csrf_exempt
@require_POST
def stripe_webhook(request: HttpRequest) -> JsonResponse:
    """Verify on the raw body, store under the event's own id, answer 200; the work comes later.

    Without a signing secret the door is closed (503), so that nobody's events are believed.
    """
    try:
        if not settings.STRIPE_WEBHOOK_SECRET:
            raise PaymentsClosed
        event = StripePort.webhook_read(
            _body(request),
            request.headers.get("Stripe-Signature"),
            settings.STRIPE_WEBHOOK_SECRET,
            settings.STRIPE_THIN_SECRET,
        )
        event_receive(event)
    except ApiError as error:
        return JsonResponse(error.body(), status=error.status, headers=error.headers)
    return JsonResponse({"received": True})


def _body(request: HttpRequest) -> bytes:
    try:
        return request.body
    except RequestDataTooBig as error:
        raise PayloadTooLarge("The event is larger than any Stripe sends.") from error
