"""What `/v1/webhook_endpoints` answers, field by field, for the API reference."""

from hooks.catalogue import EVENT_TYPES
from hooks.models import Delivery, Endpoint
from kit.schema import component, deleted, many, moment, one_of, page_of, string, thing, truth, whole

_FIELDS = {
    "id": string("The endpoint's id.", example="we_01m8hyccpze3abtvcq1zv6743v"),
    "object": one_of("Always `webhook_endpoint`.", ["webhook_endpoint"]),
    "created_at": moment("When it was made."),
    "updated_at": moment("When its settings or its secret last changed; tests do not count."),
    "name": string("Its name.", example="job-bot"),
    "url": string("Where events are sent.", example="https://hooks.example.com/tunesmith"),
    "event_types": many("What it is told of.", one_of("A type.", EVENT_TYPES)),
    "signing_secret_hint": string("The end of the signing secret.", example="whsec_…Xk4o="),
    "x_state": one_of("Whether anything is sent.", Endpoint.State.values),
    "x_reason": one_of(
        "Why it is disabled: `asked`, `gone` (it answered 410), `failing` (nothing reached it for 5 days); or null.",
        [value for value in Endpoint.Reason.values if value],
        null=True,
    ),
    "x_failing_since": moment("Since when every try has failed; null while the last one arrived.", null=True),
    "x_old_secret_until": moment("Until when the secret before signs as well; null where it does not.", null=True),
}
ENDPOINT = component("WebhookEndpoint", thing("A URL that is told of events.", _FIELDS))
ENDPOINT_WITH_SECRET = component(
    "WebhookEndpointWithSecret",
    thing(
        "An endpoint with its signing secret, which is answered this once.",
        {**_FIELDS, "signing_secret": string("`whsec_` and 32 bytes in base64.", example="whsec_…")},
    ),
)
ENDPOINTS = page_of(ENDPOINT, "Endpoints.")
ENDPOINT_DELETED = deleted("webhook_endpoint.deleted", "It is sent nothing more; its log is gone.")
TESTED = thing(
    "The endpoint gave an answer.",
    {
        "object": one_of("Always `webhook_endpoint.test`.", ["webhook_endpoint.test"]),
        "event_type": one_of("The type that was sent.", EVENT_TYPES),
        "status_code": whole("What the endpoint answered; 200 to 299 counts as delivered.", example=204),
        "success": truth("Always true: a test without an answer is an error."),
        "webhook_endpoint_id": string("The endpoint."),
    },
)
TYPES = thing(
    "All types, on one page.",
    {"object": one_of("Always `list`.", ["list"]), "data": many("Names.", one_of("A type.", EVENT_TYPES))},
)
_TRY = thing(
    "One request.",
    {
        "number": whole("From 1."),
        "at": moment("When it ended."),
        "status_code": whole("What the endpoint answered; null where there was no answer.", null=True),
        "error": string("Why it does not count as delivered; null where it does.", null=True),
        "duration_ms": whole("How long it took, in milliseconds."),
        "response": string("The beginning of the answer's body, up to 1,000 characters."),
    },
)
DELIVERY = component(
    "WebhookDelivery",
    thing(
        "One event for one endpoint.",
        {
            "id": string("The delivery's id.", example="whd_01m8hyccpze3abtvcq1zv6743v"),
            "object": one_of("Always `webhook_endpoint.delivery`.", ["webhook_endpoint.delivery"]),
            "created_at": moment("When the event happened."),
            "finished_at": moment("When it was delivered or given up; null while it waits.", null=True),
            "event": thing(
                "What is sent.",
                {
                    "id": string("The event's id: the header `webhook-id`, the same in every try."),
                    "type": one_of("Its type.", EVENT_TYPES),
                    "created_at": moment("When it happened."),
                    "data": thing("What it is about.", {"id": string("Id of the object.")}),
                },
            ),
            "state": one_of(
                "`pending`, then `delivered`; `failed` after the last try; `blocked` where the URL led to an address "
                "that is not public.",
                Delivery.State.values,
            ),
            "next_try_at": moment("When it is tried next; null where that is over.", null=True),
            "tries": many("Requests so far, oldest first.", _TRY),
        },
    ),
)
DELIVERIES = page_of(DELIVERY, "Deliveries.")
