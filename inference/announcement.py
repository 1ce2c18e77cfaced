"""What engines say of themselves where gateways look: the heartbeat, its signature, and where it lies in Redis.

An address decides who receives customers' texts, and whoever may write to Redis could name one. So a heartbeat counts
only with a signature made with the token that engines and their callers share.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import time
from collections.abc import Iterable

import msgspec

NAMES = "engines"
"""The set of names that were heard of; each one's heartbeat is a key of its own, which runs out."""
EVERY_S = 1.0
LASTS_S = 6
"""Seconds that a heartbeat is believed after the last one."""
SKEW_S = 120.0
"""How far the clocks of two hosts may be apart. Only keeps an old heartbeat from being shown again."""
SHARED, WARM = "shared", "warm"
"""Pools: who serves everybody, and who waits with its bases loaded to serve one deployment."""
MOST_RESIDENTS = 1000
_PURPOSE = b"tunesmith engine heartbeat\n"


class Heartbeat(msgspec.Struct, frozen=True):
    """An engine, as it is at this moment. `residents` are digests of what was used last, the latest first."""

    name: str
    address: str
    at: float
    pool: str = SHARED
    draining: bool = False
    bases: list[str] = []
    backend: str = ""
    precision: str = ""
    residents: list[str] = []
    models: int = 0
    """Models in memory, told or not."""
    load: int = 0
    """Requests that were taken and not answered yet."""
    expected_wait_s: float = 0.0
    free_bytes: int = 0
    """Memory for models that nothing takes."""
    requests: int = 0
    """Taken since the start."""
    idle_s: float = 0.0
    """Since the last request, or the start."""
    uptime_s: float = 0.0
    ready_s: float = 0.0
    """Since it serves this pool with these bases; an engine that does not say so yet says 0."""
    p50_ms: float = 0.0
    p95_ms: float = 0.0


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Heartbeat)


def key_of(name: str) -> str:
    """Where an engine's heartbeat lies."""
    return f"engine:{name}"


@functools.lru_cache(1 << 16)
def digest(tenant: str, model: str) -> str:
    """A resident's short name."""
    return hashlib.blake2b(f"{tenant}/{model}".encode(), digest_size=8).hexdigest()


def signed(beat: Heartbeat, token: str) -> bytes:
    """The heartbeat as it is written down."""
    body = _encoder.encode(beat)
    return _mac(body, token) + body


def opened(data: bytes, token: str, *, now: float | None = None) -> Heartbeat | None:
    """The heartbeat; None for one that was not signed with this token, is unreadable, or is old."""
    mac, body = data[:64], data[64:]
    if not token or not hmac.compare_digest(mac, _mac(body, token)):
        return None
    try:
        beat = _decoder.decode(body)
    except msgspec.MsgspecError:  # of a version that says other things
        return None
    return beat if abs((time.time() if now is None else now) - beat.at) <= SKEW_S else None


def believed(found: Iterable[bytes | None], token: str) -> tuple[list[Heartbeat], int]:
    """The heartbeats among what was read, by name; and how many were refused."""
    read = [opened(data, token) for data in found if data is not None]
    return sorted((beat for beat in read if beat), key=lambda beat: beat.name), sum(beat is None for beat in read)


def _mac(body: bytes, token: str) -> bytes:
    return hmac.new(token.encode(), _PURPOSE + body, hashlib.sha256).hexdigest().encode()
