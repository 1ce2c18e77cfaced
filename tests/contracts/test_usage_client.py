"""Usage and costs read with the official client over a real socket."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Iterator
from wsgiref.simple_server import WSGIRequestHandler, make_server

import openai
import pytest
from django.core.wsgi import get_wsgi_application
from django.db import connections

from billing.services.metering import usage_rollup
from tests.billing.money import call, store_events
from tests.conftest import Cast

DAY = dt.datetime(2026, 11, 20, tzinfo=dt.UTC)
START = int(DAY.timestamp())
KINDS = (
    "audio_speeches",
    "audio_transcriptions",
    "code_interpreter_sessions",
    "completions",
    "decisions",
    "embeddings",
    "file_search_calls",
    "images",
    "moderations",
    "vector_stores",
    "web_search_calls",
)


class Quiet(WSGIRequestHandler):
    """No access log in the test's output."""

    def log_message(self, *args: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The product behind a small server of its own."""
    django = get_wsgi_application()

    def application(environ: dict[str, object], start: object) -> object:
        answer = django(environ, start)
        connections.close_all()
        return answer

    with make_server("127.0.0.1", 0, application, handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()
        thread.join()


@pytest.fixture
def client(address: str, cast: Cast) -> openai.OpenAI:
    """The owner's client."""
    return openai.OpenAI(
        api_key=cast.owner.key, admin_api_key=cast.owner.key, base_url=address, max_retries=0, timeout=20
    )


def test_the_official_client_reads_usage_and_costs(client: openai.OpenAI, cast: Cast) -> None:
    owner = cast.owner
    where = {"project_id": owner.project.id, "key_id": owner.key_row.id}
    store_events(
        [
            call(owner.tenant.id, 1, cost=2_000, at=DAY, kind="decisions", **where),
            call(owner.tenant.id, 2, cost=3_000, at=DAY + dt.timedelta(days=1), kind="decisions", **where),
        ]
    )
    usage_rollup(tenant_id=owner.tenant.id)
    organization = client.admin.organization
    page = organization.usage.decisions(
        start_time=START, end_time=START + 2 * 86_400, group_by=["model", "project_id"], limit=1
    )
    assert page.object == "page" and page.has_more
    result = page.data[0].results[0]
    assert (result.object, result.input_tokens) == ("organization.usage.decisions.result", 100)
    assert result.project_id == owner.project.public_id
    following = organization.usage.decisions(
        start_time=START, end_time=START + 2 * 86_400, limit=1, page=page.next_page or ""
    )
    assert following.data[0].results[0].input_tokens == 150 and not following.has_more
    costs = organization.usage.costs(start_time=START, end_time=START + 86_400, group_by=["line_item"])
    assert costs.data[0].results[0].amount.value == pytest.approx(2e-6)
    assert costs.data[0].results[0].amount.currency == "usd"


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_the_client_knows_answers(client: openai.OpenAI, kind: str) -> None:
    page = getattr(client.admin.organization.usage, kind)(start_time=START, limit=1)
    assert page.object == "page"
