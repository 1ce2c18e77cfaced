"""Standard Webhooks 1.0: secrets, and the headers that prove a body is ours.

The `openai` client's `webhooks.unwrap` checks exactly this.
"""

import base64
import hashlib
import hmac
import json
import secrets
from typing import Any

from hooks.models import Endpoint, Event
from kit import sealing
from kit.clock import now, unix

PREFIX = "whsec_"
SECRET_BYTES = 32


def secret_new() -> str:
    """`whsec_` and 32 random bytes in base64."""
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def hint_of(secret: str) -> str:
    """What may be shown of a secret once it was shown whole."""
    return f"{PREFIX}…{secret[-5:]}"


def secrets_of(endpoint: Endpoint) -> list[str]:
    """Every secret that signs now, the newest first. Raises `sealing.CannotOpen`."""
    live = [endpoint.secret]
    if endpoint.old_secret and endpoint.old_secret_until is not None and endpoint.old_secret_until > now():
        live.append(endpoint.old_secret)
    return [sealing.unseal(sealed) for sealed in live]


def body_of(event: Event) -> bytes:
    """The bytes that are signed and sent."""
    return body_bytes(
        identifier=event.public_id, kind=event.type, created_at=unix(event.created_at) or 0, data=event.data
    )


def body_bytes(*, identifier: str, kind: str, created_at: int, data: dict[str, Any]) -> bytes:
    """A thin event: which object it is about, to be asked for with a key."""
    event = {"id": identifier, "object": "event", "type": kind, "created_at": created_at, "data": data}
    return json.dumps(event, separators=(",", ":")).encode()


def headers_of(body: bytes, *, identifier: str, keys: list[str]) -> dict[str, str]:
    """The three headers; one signature for each secret, so that a receiver may hold either."""
    moment = str(unix(now()))
    signed = b".".join((identifier.encode(), moment.encode(), body))
    return {
        "webhook-id": identifier,
        "webhook-timestamp": moment,
        "webhook-signature": " ".join(f"v1,{_signature(key, signed)}" for key in keys),
    }


def _signature(secret: str, signed: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(PREFIX))
    return base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
