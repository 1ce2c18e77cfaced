"""The playground's calls are calls: limited, metered, billed, and shown as what they are."""

from __future__ import annotations

import contextlib
import html
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.db import connections
from django.test import Client, override_settings

from billing.models import QuotaDecision, UsageDispute, UsageEvent
from billing.selectors.invariants import findings
from billing.services.limits import member_limits_set, project_limits_set, spend_limit_set
from billing.services.metering import usage_rollup
from billing.services.reservations import disputes_close, reservations_sweep
from billing.services.stores import quota_store
from config import embedded
from kit.ids import parse_id
from registry.bases import catalogue
from serving import explaining
from serving.models import Deployment, RequestRecord
from tenants.models import Member, Tenant
from tenants.scope import ops_scope, tenant_scope
from tests.conftest import Person, make_person
from tests.serving.made import deployed, trained

pytestmark = pytest.mark.slow  # starts real processes
TEXT = "where is my parcel"


@pytest.fixture
def ready(engine: None, tmp_path: Any) -> tuple[Person, Deployment]:
    """An owner with a live model."""
    person = make_person("ada")
    version, _ = trained(person, tmp_path / "a", "head")
    row = deployed(person, version)
    assert row.state == "live", row.reason
    return person, row


def run(person: Person, row: Deployment, **headers: str) -> tuple[int, str]:
    body = {"model": row.public_id, "text": TEXT, "threshold": "0.5"}
    answer = person.browser.post(f"{person.workspace}/playground/", body, headers=headers)
    return answer.status_code, " ".join(answer.content.decode().split())


def events(person: Person) -> list[UsageEvent]:
    with tenant_scope(person.tenant.id):
        return list(UsageEvent.objects.all())


def test_a_run_is_metered_and_priced_like_a_call_without_a_key(ready: tuple[Person, Deployment]) -> None:
    person, row = ready
    status, page = run(person, row)
    assert status == 200
    (event,) = events(person)
    assert (event.kind, event.key_id, event.project_id) == ("classify", None, person.project.id)
    assert event.requests == 1 and event.input_tokens > 2 and event.cost_nano == 20 * event.input_tokens
    assert f"{event.input_tokens} tokens · &lt;$0.000001" in page
    usage_rollup(tenant_id=person.tenant.id)
    usage = person.browser.get(f"{person.home}/usage/?by=key").content.decode()
    assert "Playground" in usage
    assert "Playground" in person.browser.get(f"{person.home}/usage/?by=key&key=none").content.decode()
    assert list(findings([person.tenant.id])) == []
    assert not quota_store().due(person.tenant.id), "the reservation is settled"


def test_over_a_limit_the_playground_says_what_the_api_says(ready: tuple[Person, Deployment]) -> None:
    person, row = ready
    with tenant_scope(person.tenant.id):
        spend_limit_set(monthly_nano=0)
    status, page = run(person, row)
    assert status == 402 and "beyond the monthly spend limit of your organization ($0.00)" in page
    assert run(person, row, hx_request="true")[0] == 200, "htmx shows nothing of an error status"
    with tenant_scope(person.tenant.id):
        spend_limit_set(monthly_nano=None)
        project_limits_set(project=person.project, limits={"requests_per_minute": 1})
    assert run(person, row)[0] == 200
    status, page = run(person, row)
    assert status == 429 and "Rate limit of your project reached: 1 requests per 1m0s." in page
    assert len(events(person)) == 1
    with tenant_scope(person.tenant.id):
        project_limits_set(project=person.project, limits={})
        member_limits_set(member=Member.objects.get(user=person.user), limits={"requests_per_minute": 0})
    status, page = run(person, row)
    assert status == 429 and "of your membership" in page
    with tenant_scope(person.tenant.id):
        entry = QuotaDecision.objects.get(layer="member")
        asked = RequestRecord.objects.get(pk=parse_id("req_", entry.request_ids[0]))
    assert (entry.scope_id, asked.code) == (person.user.pk.hex, "rate_limit_exceeded"), "the log has the same call"
    assert run(person, row, hx_request="true")[0] == 200
    paid, slow = (402, "budget_exceeded"), (429, "rate_limit_exceeded")
    assert logged(person) == [paid, paid, (200, ""), slow, slow, slow]


def logged(person: Person) -> list[tuple[int, str]]:
    with tenant_scope(person.tenant.id):
        return list(RequestRecord.objects.order_by("at").values_list("status", "code"))


def test_what_a_page_refuses_is_in_the_request_log(ready: tuple[Person, Deployment]) -> None:
    person, row = ready
    empty = {"model": row.public_id, "text": "", "threshold": "0.5"}
    assert person.browser.post(f"{person.workspace}/playground/", empty).status_code == 422
    with override_settings(ENGINE_ADDRESS="unix:///nobody.sock"):
        assert run(person, row)[0] == 503
    with ops_scope("suspend"):
        Tenant.ops.filter(pk=person.tenant.id).update(status="suspended")
    assert run(person, row)[0] == 403
    wrong, down, shut = logged(person)
    assert wrong == (400, "invalid_request_error")
    assert down == (503, "server_is_overloaded")
    assert shut == (403, "organization_suspended")
    with tenant_scope(person.tenant.id):
        rows = list(RequestRecord.objects.order_by("at").values_list("kind", "cost_nano", "model"))
    name = rows[0][2]
    assert name and rows == [("classify", 0, name)] * 3


def test_no_transaction_waits_for_the_engine(ready: tuple[Person, Deployment], tmp_path: Any) -> None:
    person, row = ready
    waiting: list[int] = []
    here = connections["default"].settings_dict["NAME"]  # other workers of a run have databases beside it
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "slow.sock"))
    server.listen()

    def look() -> None:
        peer, _ = server.accept()
        with psycopg.connect(embedded.superuser_url(settings.HOME)) as database:
            found = database.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%%' AND datname = %s",
                [here],
            )
            waiting.extend(found.fetchone() or ())
        peer.close()

    engine = threading.Thread(target=look, daemon=True)
    engine.start()
    with override_settings(ENGINE_ADDRESS=f"unix://{tmp_path / 'slow.sock'}"):
        status, page = run(person, row)
    engine.join(10)
    server.close()
    assert status == 503 and "it costs nothing" in page
    assert waiting == [0]


@contextlib.contextmanager
def late_engine(folder: Path, meanwhile: Callable[[], None]) -> Iterator[None]:
    """The engine, which answers whoever asks first only after `meanwhile`."""
    real, path = settings.ENGINE_ADDRESS.removeprefix("unix://"), str(folder / "late.sock")
    server, first = socket.socket(socket.AF_UNIX), threading.Event()
    server.bind(path)
    server.listen()

    def pump(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while block := source.recv(65_536):
                target.sendall(block)
            target.shutdown(socket.SHUT_WR)

    def serve(peer: socket.socket) -> None:
        if not first.is_set():
            first.set()
            meanwhile()
            connections.close_all()
        with socket.socket(socket.AF_UNIX) as engine, peer:
            engine.connect(real)
            back = threading.Thread(target=pump, args=(engine, peer), daemon=True)
            back.start()
            pump(peer, engine)
            back.join(10)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    with override_settings(ENGINE_ADDRESS=f"unix://{path}"):
        yield
    server.close()


@pytest.mark.parametrize("life", ["usual", "over"])
def test_an_explanation_is_a_call_at_once_for_five_minutes_and_is_shown_however_late_it_comes(
    ready: tuple[Person, Deployment], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, life: str
) -> None:
    """A reservation's life is the quota server's to count, so one that is over is begun with a millisecond."""
    person, row = ready
    if life == "over":
        monkeypatch.setattr(explaining, "LONGEST_LIFE_MS", 1)
    with tenant_scope(person.tenant.id):
        project_limits_set(project=person.project, limits={"concurrency": 1})
    left_ms, others = list[float](), list[int]()
    other = Client()
    other.cookies = person.browser.cookies

    def meanwhile() -> None:
        time.sleep(0.01)  # a life of a millisecond may not be over yet
        store, (tenant, seconds, rest) = quota_store(), (person.tenant.id.hex, *quota_store().line.command("TIME"))
        ends = store.line.command("ZRANGE", f"q:{{{tenant}}}:deadlines", 0, -1, "WITHSCORES")
        left_ms.append(float(ends[1]) - int(seconds) * 1000 - int(rest) / 1000)
        body = {"model": row.public_id, "text": TEXT, "threshold": "0.5"}
        others.append(other.post(f"{person.workspace}/playground/", body).status_code)
        reservations_sweep(store=store)

    with late_engine(tmp_path, meanwhile):
        answer = person.browser.post(f"{person.workspace}/playground/why", {"deployment": row.public_id, "text": TEXT})
    page = " ".join(answer.content.decode().split())
    assert answer.status_code == 200 and "What made it say" in page and "times without a piece of it" in page
    if life == "usual":
        assert 290_000 < left_ms[0] <= 300_000 and others == [429]
    else:
        assert left_ms[0] <= 0 and others == [200], "it no longer counts as a call at once"
    disputes_close()
    with tenant_scope(person.tenant.id):
        most = max(one.input_tokens for one in UsageEvent.objects.all())
        record = RequestRecord.objects.get(status=200, input_tokens=most)
        states = list(UsageDispute.objects.values_list("request_id", "state"))
    assert f"{record.input_tokens} tokens" in page and record.cost_nano == 20 * record.input_tokens
    assert states == ([(record.public_id, "disproved")] if life == "over" else [])
    assert len(events(person)) == 1 + others.count(200)
    assert not quota_store().due(person.tenant.id) and list(findings([person.tenant.id])) == []


def test_a_fault_of_the_engine_costs_nothing(ready: tuple[Person, Deployment]) -> None:
    person, row = ready
    with override_settings(ENGINE_ADDRESS="unix:///nobody.sock"):
        status, page = run(person, row)
    assert status == 503 and "it costs nothing" in page
    assert events(person) == []
    assert run(person, row)[0] == 200


def test_two_models_are_drawn_against_each_other_and_both_are_charged(
    ready: tuple[Person, Deployment], tmp_path: Any
) -> None:
    person, first = ready
    version, _ = trained(person, tmp_path / "b", "head", seed=7)
    second = deployed(person, version)
    body = {"model": first.public_id, "against": second.public_id, "text": TEXT}
    answer = person.browser.post(f"{person.workspace}/playground/", body)
    page = " ".join(answer.content.decode().split())
    assert answer.status_code == 200 and page.count('class="bar bar-first"') == page.count('class="bar bar-second"') > 1
    assert "Both say" in page or "They differ:" in page
    assert len(events(person)) == 2
    stopped = dict(body, against="dep_of_nobody")
    answer = person.browser.post(f"{person.workspace}/playground/", stopped)
    assert answer.status_code == 422 and len(events(person)) == 2


def test_a_base_tells_how_alike_two_texts_are(ready: tuple[Person, Deployment]) -> None:
    person, _ = ready
    base = next(iter(catalogue()))
    path = f"{person.workspace}/playground/"
    assert "Second text" in person.browser.get(f"{path}?model={base}").content.decode()
    same = {"model": base, "text": TEXT, "other": TEXT}
    answer = person.browser.post(path, same)
    page = " ".join(answer.content.decode().split())
    assert answer.status_code == 200 and "Cosine similarity" in page and "1.000" in page
    assert f'input=["{TEXT}", "{TEXT}"]' in html.unescape(re.sub(r"<[^>]+>", "", page))
    (event,) = events(person)
    assert (event.kind, event.model, event.key_id) == ("embeddings", base, None)
    answer = person.browser.post(path, same | {"other": ""})
    assert answer.status_code == 422 and "Write a text to try." in answer.content.decode()
    assert len(events(person)) == 1
