"""The lines of a batch of an organisation in euros."""

from __future__ import annotations

import pytest
from pytest_django.live_server_helper import LiveServer

from batches.worker import duty
from billing.services.entitlements import plan_grant
from tenants.scope import tenant_scope
from tests.batches.making import chat, client, events, made, read
from tests.conftest import make_person
from tests.gateway.writing_engine import Wired, prompt_of

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("worker")]  # starts a server


def test_lines_cost_half_of_the_price_in_euros(server: LiveServer, writing: Wired) -> None:
    eve = make_person("eve", currency="eur")
    with tenant_scope(eve.tenant.id):
        plan_grant(plan="enterprise", reason="tests", created_by="tests")
    official, word = client(server, eve), writing.word()
    writing.engine.plan(word, "yes")
    batch = made(official, [chat("one", word)], metadata={"x_cost_usd": "a word of mine"})
    assert duty.work() == 1
    done = official.batches.retrieve(batch.id)
    cost = prompt_of(word) * 45 + 180
    response = read(official, done.output_file_id)["one"]["response"]
    assert response["x_cost_eur"] == done.to_dict()["x_cost_eur"] == cost / 1e9
    assert "x_cost_usd" not in response and "x_cost_usd" not in done.to_dict()
    assert done.metadata == {"x_cost_usd": "a word of mine"}, "what is the caller's own keeps its name"
    (event,) = events(eve, 1)
    assert (event.price_version, event.cost_nano) == ("2026-12-01.eur", cost)
