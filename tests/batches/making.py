"""Batches to work on, and words to look at what became of them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import Any

import openai
from openai.types import Batch as WireBatch
from pytest_django.live_server_helper import LiveServer

from batches.models import Batch
from billing.models import UsageEvent
from billing.selectors.invariants import findings
from billing.services.ledger import lines_post
from billing.services.metering import usage_rollup
from kit.ids import parse_id
from tenants.scope import ops_scope, tenant_scope
from tests.conftest import Person
from tests.gateway.writing_engine import CHAT, WRITER, says

READ, WRITTEN = 50, 200
"""Nano-USD for a token in a batch: half of a call's."""


def client(server: LiveServer, person: Person | str) -> openai.OpenAI:
    """The official client of the control API."""
    key = person if isinstance(person, str) else person.key
    return openai.OpenAI(api_key=key, base_url=f"{server.url}/v1", max_retries=0)


def chat(custom_id: str, word: str, **body: Any) -> dict[str, Any]:
    """A line that asks for a text."""
    asked = {"model": WRITER, "messages": says(word), "max_tokens": 20} | body
    return {"custom_id": custom_id, "method": "POST", "url": CHAT, "body": asked}


def text_of(lines: Iterable[Any]) -> bytes:
    """Lines as a file."""
    return b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines)


def made(official: openai.OpenAI, lines: Iterable[Any], endpoint: str = CHAT, **more: Any) -> WireBatch:
    """A batch of these lines, as a client makes one."""
    file = official.files.create(file=("calls.jsonl", text_of(lines)), purpose="batch")
    assert file.status == "processed"
    wanted: Any = endpoint
    return official.batches.create(input_file_id=file.id, endpoint=wanted, completion_window="24h", **more)


def read(official: openai.OpenAI, file_id: str | None) -> dict[str, dict[str, Any]]:
    """The lines of a file that a batch wrote, by custom_id; each may stand there once."""
    assert file_id is not None
    lines = [json.loads(line) for line in official.files.content(file_id).text.splitlines()]
    found = {line["custom_id"]: line for line in lines}
    assert len(found) == len(lines), "a line stands there twice"
    return found


def row(person: Person, batch: WireBatch) -> Batch:
    """As the database has it."""
    with tenant_scope(person.tenant.id):
        found: Batch = Batch.objects.get(pk=parse_id("batch_", batch.id))
        return found


def change(batch: WireBatch, **values: Any) -> None:
    """Put a batch into a place that takes hours to come to."""
    with ops_scope("arrange a test"):
        assert Batch.ops.filter(pk=parse_id("batch_", batch.id)).update(**values)


def events(person: Person, at_least: int = 0, seconds: float = 15.0) -> list[UsageEvent]:
    """What a tenant is charged for, once so much of it has been shipped."""
    deadline = time.monotonic() + seconds
    while True:
        with tenant_scope(person.tenant.id):
            found = list(UsageEvent.objects.all())
        if len(found) >= at_least:
            return found
        assert time.monotonic() < deadline, f"{len(found)} of {at_least} events arrived"
        time.sleep(0.1)


def check_books(person: Person) -> None:
    """Sum and post what was used; not a nano may be off."""
    while usage_rollup(tenant_id=person.tenant.id):
        pass
    lines_post(tenant_id=person.tenant.id)
    assert not list(findings([person.tenant.id]))
