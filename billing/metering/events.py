"""The usage event: one metered fact, the same bytes in the file, on the wire and in Postgres.

`event_id` is `uuid5` of tenant, request and kind: retries, replays and doubled shipping make the same id, and the
unique index in Postgres is the only place where doubles are dropped.
"""

from __future__ import annotations

import hashlib
import uuid

import msgspec

_MARKS = 0x5 << 76 | 0x2 << 62
_KEPT = (1 << 128) - 1 & ~(0xF << 76 | 0x3 << 62)
"""Version 5 and variant of a UUID (RFC 9562, section 5.5), and the bits that are left to the hash."""


class UsageEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Quantities are integers; `occurred_at` is ms since 1970 by the quota server's clock at admission, which is the
    clock that decides the period a call belongs to."""

    event_id: uuid.UUID
    request_id: str
    tenant_id: uuid.UUID
    project_id: uuid.UUID
    key_id: uuid.UUID | None
    model: str
    kind: str
    input_tokens: int
    output_tokens: int
    requests: int
    gpu_ms: int
    price_version: str
    cost_nano: int
    occurred_at: int
    cached_tokens: int = 0
    """Of the input tokens, those that the engine had computed before; a price book may ask less for them."""


def event_id(tenant_id: uuid.UUID, request_id: str, kind: str) -> uuid.UUID:
    """Identity of the event of one request and kind; no tenant's request can take another's identity."""
    digest = hashlib.sha1(tenant_id.bytes + f"{request_id}\x00{kind}".encode(), usedforsecurity=False).digest()
    return uuid.UUID(int=int.from_bytes(digest[:16], "big") & _KEPT | _MARKS)  # uuid.uuid5 does so at thrice the cost


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(UsageEvent)


def encode(event: UsageEvent) -> bytes:
    """One line of JSON without its newline."""
    return _encoder.encode(event)


def decode(data: bytes) -> UsageEvent:
    """Inverse of `encode`; msgspec.DecodeError for anything else."""
    return _decoder.decode(data)
