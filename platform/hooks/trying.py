"""A test of an endpoint: one signed sample, sent while the caller waits, outside any transaction."""

from hooks import signing
from hooks.catalogue import KINDS
from hooks.delivery import LOST_KEY
from hooks.models import Endpoint, Event
from hooks.sending import Answer, send
from hooks.services import endpoint_test_begin
from kit import sealing
from kit.clock import now, unix
from kit.ids import new_id, public_id
from tenants.scope import tenant_scope


def endpoint_try(*, endpoint: Endpoint, type: str) -> Answer:
    """Send a sample event of that type; takes up to 15 seconds. TriedTooSoon within seconds of the last."""
    with tenant_scope(endpoint.tenant_id):
        endpoint_test_begin(endpoint=endpoint)
    try:
        keys = signing.secrets_of(endpoint)
    except sealing.CannotOpen:
        return Answer(error=LOST_KEY, blocked=True)
    identifier = public_id(Event.prefix, new_id())
    body = signing.body_bytes(identifier=identifier, kind=type, created_at=unix(now()) or 0, data=KINDS[type].sample)
    return send(endpoint.url, headers=signing.headers_of(body, identifier=identifier, keys=keys), body=body)
