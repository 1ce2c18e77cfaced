"""A batch through a gateway process and a real engine: the same answers as calls, at half the price."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_django.live_server_helper import LiveServer

from batches.worker import duty
from tests.batches.making import check_books, client, events, made, read
from tests.conftest import Cast
from tests.gateway.conftest import GatewayProcess, gateway
from tests.inference.artefacts import BASE

__all__ = ["gateway"]
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("worker")]  # starts real processes
TEXTS = ["where is my parcel", "I want my money back", "ok", "the app crashes whenever I open it on my phone"]


def embed(number: int) -> dict[str, Any]:
    body = {"model": BASE.name, "input": [TEXTS[number % 4], f"text {number}"]}
    return {"custom_id": f"{number}", "method": "POST", "url": "/v1/embeddings", "body": body}


def test_a_batch_of_embeddings_gives_what_calls_give(
    server: LiveServer, gateway: GatewayProcess, cast: Cast, settings: Any
) -> None:
    settings.GATEWAY_URL = gateway.url
    ada = cast.owner
    official = client(server, ada)
    batch = made(official, [embed(n) for n in range(60)], endpoint="/v1/embeddings")
    rerank = {"model": BASE.name, "query": TEXTS[0], "documents": TEXTS}
    ranked = made(
        official,
        [{"custom_id": "a", "method": "POST", "url": "/v1/rerank", "body": rerank}],
        endpoint="/v1/rerank",
    )
    duty.work()
    done = official.batches.retrieve(batch.id)
    assert done.status == "completed", done.errors
    answers = read(official, done.output_file_id)
    live = gateway.client(ada).embeddings.with_raw_response.create(
        model=BASE.name, input=[TEXTS[3], "text 3"], encoding_format="float"
    )
    expected = live.parse()
    body = answers["3"]["response"]["body"]
    for got, wanted in zip(body["data"], expected.data, strict=True):
        assert got["embedding"] == pytest.approx(wanted.embedding, abs=2e-3), "another batch, the same vector"
    assert body["usage"]["prompt_tokens"] == expected.usage.prompt_tokens
    assert 2 * answers["3"]["response"]["x_cost_usd"] == pytest.approx(float(live.headers["x-cost-usd"]))
    order = read(official, official.batches.retrieve(ranked.id).output_file_id)["a"]["response"]["body"]["results"]
    assert order[0]["index"] == 0
    found = events(ada, 62)
    kinds = [one.kind for one in found]
    assert (kinds.count("batch_embeddings"), kinds.count("batch_rerank"), kinds.count("embeddings")) == (60, 1, 1)
    check_books(ada)
