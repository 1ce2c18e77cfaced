"""A signed webhook body, read and found to be an event that the inbox can store."""

import datetime as dt
import json
from typing import Any

from billing.errors import SignatureWrong

LATEST = 253_402_300_800
"""Unix seconds of the year 10000, which no event reaches."""
THIN = "v2.core.event"
"""What a thin event says it is: it names what to fetch, and holds nothing of it."""


def event_of(body: bytes) -> dict[str, Any]:
    """The event; SignatureWrong when it is none, ValueError when it is no JSON."""
    # PostgreSQL's JSON holds no NUL; none of Stripe's fields means anything by one.
    event = json.loads(body.replace(b"\\u0000", b""), parse_constant=_refuse_constant)
    if not _is_event(event) or not _is_whole(event):
        raise SignatureWrong("The body is no Stripe event.")
    found: dict[str, Any] = event
    return found


def _is_whole(event: Any) -> bool:
    """Whether every string in it is Unicode: half a character (a lone surrogate) can be stored nowhere."""
    try:
        json.dumps(event, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def is_thin(event: dict[str, Any]) -> bool:
    """Whether it is a thin event of the v2 API."""
    return event.get("object") == THIN


def happened_at(event: dict[str, Any]) -> dt.datetime:
    """When Stripe says it happened: seconds, or in a thin event the moment written out. ValueError for neither."""
    if not is_thin(event):
        return dt.datetime.fromtimestamp(int(event.get("created") or 0), dt.UTC)
    moment = dt.datetime.fromisoformat(event["created"])
    return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).astimezone(dt.UTC)


def _is_event(event: Any) -> bool:
    """Whether a signed body has the shape that the inbox stores: an id, a time, and an object where there is one."""
    if not isinstance(event, dict) or not isinstance(event.get("id"), str) or not event["id"]:
        return False
    if is_thin(event):
        return _is_thin_event(event)
    data, created = event.get("data", {}), event.get("created", 0)
    timed = isinstance(created, int) and 0 <= created < LATEST
    return timed and isinstance(data, dict) and isinstance(data.get("object") or {}, dict)


def _is_thin_event(event: dict[str, Any]) -> bool:
    """The same of a thin event: what it is about, if it is about anything, has a name and a kind."""
    about = event.get("related_object")
    named = about is None or (isinstance(about, dict) and all(isinstance(about.get(n), str) for n in ("id", "type")))
    try:
        happened_at(event)
    except (KeyError, TypeError, ValueError, OverflowError):
        return False
    return named and isinstance(event.get("type"), str)
