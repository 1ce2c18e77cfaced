"""What tests of one text in the making ask: a stream to leave, the making itself, and what was written down of it."""

from __future__ import annotations

import contextlib
from typing import Any

import httpx2

from billing.metering.events import UsageEvent
from tests.conftest import Person
from tests.gateway.writing_engine import CHAT, WRITER, Making, Wired, until


def event_of(writing: Wired, person: Person, request_id: str) -> UsageEvent:
    found: list[UsageEvent] = []

    def there() -> bool:
        found[:] = [event for event in writing.events(person) if event.request_id == request_id]
        return bool(found)

    until(there)
    (event,) = found
    return event


def lines_of(raw: httpx2.Response) -> Any:
    return (line for line in raw.iter_lines() if line)


@contextlib.contextmanager
def streaming(writing: Wired, person: Person, body: dict[str, Any], key: str | None = None) -> Any:
    """A stream whose connection is the test's to leave."""
    headers = {"authorization": f"Bearer {key or person.key}"}
    with httpx2.Client(timeout=30) as client:
        whole = {"model": WRITER, "stream": True} | body
        with client.stream("POST", writing.url + CHAT, json=whole, headers=headers) as raw:
            yield raw


def only(writing: Wired, word: str) -> Making:
    until(lambda: writing.engine.of(word))
    (asked,) = writing.engine.of(word)
    return asked
