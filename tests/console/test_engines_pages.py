"""Engines of a deployment's own in the console: what they cost before the click, how many, how they are."""

from __future__ import annotations

import datetime as dt
import re
import time
from typing import Any

import pytest

from billing.services.engines import engine_time_record
from billing.services.entitlements import plan_grant
from billing.services.metering import usage_rollup
from kit.clock import now
from serving.metering import usage_name
from serving.models import Dedicated, Deployment, RequestRecord
from tenants.models import AuditEvent
from tenants.scope import tenant_scope
from tests.conftest import Person, make_person
from tests.console.things import made_deployment, made_model


@pytest.fixture
def ada(settings: Any) -> Person:
    settings.DEDICATED_REPLICAS = 10_000  # other tests leave some promised
    person = make_person("ada")
    with tenant_scope(person.tenant.id):
        plan_grant(plan="team", reason="tests", created_by="tests")
    return person


def shown(person: Person, path: str) -> str:
    answer = person.browser.get(f"{person.workspace}/{path}")
    assert answer.status_code == 200
    return " ".join(answer.content.decode().split())


def send(person: Person, path: str, **form: Any) -> tuple[int, str]:
    answer = person.browser.post(f"{person.workspace}/{path}", form)
    return answer.status_code, " ".join(answer.content.decode().split())


def own(row: Deployment) -> Dedicated | None:
    with tenant_scope(row.tenant_id):
        return Dedicated.objects.filter(deployment=row).first()


def test_the_form_says_the_price_and_deploys_with_engines_of_its_own(ada: Person) -> None:
    version = made_model(ada)
    page = shown(ada, "deployments/")
    assert "Engines of its own, $0.36 an hour each" in page
    status, page = send(ada, "deployments/", model=version.model.name, own="on", least=3, most=2)
    assert status == 422 and "More than at most." in page
    wish = {"own": "on", "least": 1, "most": 2, "idle_minutes": 5}
    assert send(ada, "deployments/", model=version.model.name, **wish)[0] == 302
    with tenant_scope(ada.tenant.id):
        row = Deployment.objects.get(version=version)
    found = own(row)
    assert found is not None and (found.replicas_min, found.replicas_max, found.idle_seconds) == (1, 2, 300)


@pytest.mark.parametrize(
    ("asked", "month"),
    [
        ("least=0&most=1", "$0.00"),
        ("least=2&most=4", "$525.60"),
        ("least=&most=x", "$0.00"),
        ("least=-1", "$0.00"),
        (f"least={'9' * 5_000}", "$0.00"),
    ],
    ids=["the usual", "two", "no number", "below none", "no number that fits"],
)
def test_the_month_at_the_least_is_said_while_the_form_is_filled_in(ada: Person, asked: str, month: str) -> None:
    page = shown(ada, f"deployments/engines-price?{asked}&model=ft:nobody:knows")
    assert "$0.36" in page and re.search(rf"at least, a month</dt>\s?<dd>\s?<strong>(about )?{re.escape(month)}<", page)


def test_a_deployment_gets_engines_changes_them_and_goes_back(ada: Person) -> None:
    row = made_deployment(ada)
    path = f"deployments/{row.public_id}/"
    assert "The shared engines serve it. They cost nothing while nobody calls." in shown(ada, path)
    assert send(ada, f"{path}engines", own="on", least=1, most=3, idle_minutes=10)[0] == 302
    page = shown(ada, path)
    assert "The shared engines serve it until the first of its own is ready." in page and "$262.80" in page
    status, page = send(ada, f"{path}engines", own="on", least=1, most=5, idle_minutes=10)
    assert status == 422 and "Your plan has 4 engines of its own here; 0 are promised to yours" in page
    assert send(ada, f"{path}engines", own="on", least=0, most=2, idle_minutes=1)[0] == 302
    found = own(row)
    assert found is not None and (found.replicas_min, found.replicas_max, found.idle_seconds) == (0, 2, 60)
    assert send(ada, f"{path}engines")[0] == 302
    assert own(row) is None
    with tenant_scope(ada.tenant.id):
        assert AuditEvent.objects.filter(action="deployment.dedicated").count() == 3


def test_the_page_says_how_they_are_and_what_they_cost_this_month(ada: Person) -> None:
    row = made_deployment(ada)
    with tenant_scope(ada.tenant.id):
        Dedicated.objects.create(deployment=row, replicas_max=3, wanted=3, ready=2, cold_start_ms=4_250)
        name, model = f"{usage_name(row.pk)}1", row.model.name
        engine_time_record(request_id=name, project_id=row.project_id, model=model, seconds=9_000, at=now())
    usage_rollup(tenant_id=ada.tenant.id)
    page = shown(ada, f"deployments/{row.public_id}/")
    facts = dict(re.findall(r"<dt>([^<]+)</dt>\s?<dd>(.*?)</dd>", page))
    plain = {name: re.sub(r"<[^>]+>", "", said).replace("\u00a0", " ").strip() for name, said in facts.items()}
    assert (plain["Wanted"], plain["Ready"], plain["Being started"]) == ("3", "2", "1")
    assert (plain["Last cold start"], plain["Engine time this month"]) == ("4.2 s", "2 h 30 min")
    assert plain["Cost this month"] == "$0.90" and plain["State"] == "Running"
    assert "2 engines of its own" in shown(ada, "deployments/")
    usage = " ".join(ada.browser.get(f"{ada.home}/usage/").content.decode().split()).replace("\u00a0", " ")
    assert "2 h 30 min of its own engines" in usage
    bill = " ".join(ada.browser.get(f"{ada.home}/billing/").content.decode().split()).replace("\u00a0", " ")
    assert "Engines of its own · all-MiniLM-L6-v2" in bill and "2 h 30 min" in bill
    lines = ada.browser.get(f"{ada.home}/usage/csv").content.decode().splitlines()
    assert lines[0].endswith("byte_hours,engine_seconds,cost_usd") and any(",9000,0.9" in line for line in lines)
    with tenant_scope(ada.tenant.id):
        Dedicated.objects.filter(deployment=row).update(halted="spend_limit", wanted=0, ready=0)
    page = shown(ada, f"deployments/{row.public_id}/")
    assert "A spend limit no longer carries them" in page and "Open billing" in page


def test_a_page_that_asks_engines_which_a_spend_limit_stopped_is_refused_at_once(ada: Person) -> None:
    row = made_deployment(ada)
    with tenant_scope(ada.tenant.id):
        Deployment.objects.filter(pk=row.pk).update(state="live", max_length=128)
        Dedicated.objects.create(deployment=row, halted="spend_limit")
    began = time.monotonic()
    asked = {"playground/": {"model": row.public_id}, "playground/why": {"deployment": row.public_id}}
    for path, form in asked.items():
        status, page = send(ada, path, text="where is my parcel", threshold="0.5", **form)
        assert status == 402 and "a monthly spend limit no longer carries them" in page
    assert time.monotonic() - began < 10, "nobody waits for an engine that is not started"
    with tenant_scope(ada.tenant.id):
        assert list(RequestRecord.objects.values_list("status", "code")) == [(402, "budget_exceeded")] * 2


def test_where_there_are_none_the_page_says_why_in_plain_words(ada: Person, settings: Any) -> None:
    fay = make_person("fay")
    row = made_deployment(fay)
    path = f"deployments/{row.public_id}/"
    page = shown(fay, path)
    assert "Your plan has none." in page and "See the plans" in page and "Give it its own engines" not in page
    status, page = send(fay, f"{path}engines", own="on")
    assert status == 422 and "Your plan has no engines of its own for a deployment." in page
    settings.DEDICATED_REPLICAS = 0
    page = shown(ada, f"deployments/{made_deployment(ada).public_id}/")
    assert "This installation offers none." in page
    made_model(ada)
    assert "This installation offers none." in shown(ada, "deployments/")
    settings.DEDICATED_REPLICAS = 1
    full = made_deployment(ada)
    with tenant_scope(ada.tenant.id):
        Dedicated.objects.create(deployment=full, replicas_max=4)
    assert "as many as it may have: 4" in shown(ada, f"deployments/{made_deployment(ada).public_id}/")
    bea = make_person("bea")
    with tenant_scope(bea.tenant.id):
        plan_grant(plan="team", reason="tests", created_by="tests")
    assert "are promised to others" in shown(bea, f"deployments/{made_deployment(bea).public_id}/")


def test_viewers_see_them_and_change_nothing(ada: Person) -> None:
    row = made_deployment(ada)
    with tenant_scope(ada.tenant.id):
        Dedicated.objects.create(deployment=row, wanted=1, cold_since=now() - dt.timedelta(seconds=3))
    viewer = make_person("vic", beside=ada, role="viewer")
    page = shown(viewer, f"deployments/{row.public_id}/")
    assert "Starting" in page and "Back to the shared engines" not in page
    assert send(viewer, f"deployments/{row.public_id}/engines")[0] == 403
