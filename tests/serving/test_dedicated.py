"""Engines of a deployment's own: asked for, metered to the second, charged as far as limits carry them, given back."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.core import mail
from django.db import connections, transaction

from billing.models import UsageEvent
from billing.selectors.bills import invoice_preview
from billing.selectors.invariants import findings
from billing.services.entitlements import override_set, plan_grant
from billing.services.ledger import lines_post
from billing.services.limits import spend_limit_set
from billing.services.metering import usage_rollup
from inference.announcement import NAMES, Heartbeat, key_of, signed
from kit import redis
from kit.clock import now
from kit.ids import parse_id
from serving import pools
from serving.metering import engines_meter, month_of_engines
from serving.models import Dedicated, Deployment, DeploymentEvent
from serving.pools import scale
from serving.routes import routes_of
from serving.services import deployment_stop, deployments_sweep
from tenants.models import AuditEvent
from tenants.scope import tenant_scope
from tenants.services.organisations import tenant_set_status
from tests.conftest import Person, make_person
from tests.registry.making import make_model

BASE = "all-MiniLM-L6-v2"
SECOND = 100_000
"""Nano-USD that the price book asks for a second of an engine."""


@pytest.fixture
def ada(settings: Any) -> Person:
    settings.DEDICATED_REPLICAS = 10_000  # other tests leave some promised
    person = make_person("ada")
    with tenant_scope(person.tenant.id):
        plan_grant(plan="team", reason="tests", created_by="tests")
    return person


@pytest.fixture(autouse=True)
def _nobody_else() -> Iterator[None]:
    """No engine of another test announces itself."""
    silence()
    yield
    silence()


def silence() -> None:
    names: Any = redis.client().smembers(NAMES)
    for name in names:
        redis.client().delete(key_of(name.decode()))
    redis.client().delete(NAMES)


def say(settings: Any, row: Deployment, *names: str, **facts: Any) -> None:
    """Engines of a deployment's pool announce themselves as real ones do, and no others."""
    silence()
    for name in names:
        beat = Heartbeat(
            name=name,
            address=f"unix:/{name}",
            at=time.time(),
            **{"pool": pool_of(row), "bases": [BASE], "ready_s": 3600.0} | facts,
        )
        redis.client().sadd(NAMES, name)
        redis.client().set(key_of(name), signed(beat, settings.ENGINE_TOKEN), ex=60)


def pool_of(row: Deployment) -> str:
    return f"dep_{row.pk.hex}"


def made(person: Person, *, begun: dt.datetime | None = None, wanted: int = 1, **wish: Any) -> Deployment:
    """A live deployment with engines of its own, so many of them wanted, whose meter stands at `begun`."""
    version = make_model(person)
    answer = person.api.post("/v1/deployments", {"model": version.model.name, "dedicated": wish})
    assert answer.status_code == 200, answer.content
    found = deployment(person, answer.json()["id"])
    at = begun or begin()
    with tenant_scope(person.tenant.id):
        Deployment.objects.filter(pk=found.pk).update(state="live", live_at=at)
        Dedicated.objects.filter(deployment=found).update(looked_at=at, handed_to=at, wanted=wanted)
    return found


def begin() -> dt.datetime:
    """A moment a little ago, at no minute's beginning, but in this month: bills and limits are of one."""
    ago, month = now() - dt.timedelta(minutes=10), now().replace(day=1, hour=0, minute=0)
    return max(ago, month).replace(second=17, microsecond=0)


def deployment(person: Person, public_id: str) -> Deployment:
    with tenant_scope(person.tenant.id):
        found: Deployment = Deployment.objects.select_related("model").get(pk=parse_id("dep_", public_id))
        return found


def own(row: Deployment) -> Dedicated:
    with tenant_scope(row.tenant_id):
        found: Dedicated = Dedicated.objects.get(deployment=row)
        return found


def wire(person: Person, row: Deployment) -> dict[str, Any]:
    answer = person.api.get(f"/v1/deployments/{row.public_id}")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()["dedicated"]
    return found


def charged(person: Person) -> list[tuple[int, int]]:
    """Seconds and nano-USD of each event, in order."""
    with tenant_scope(person.tenant.id):
        events = UsageEvent.objects.filter(kind="dedicated").order_by("occurred_at")
        return [(event.gpu_ms // 1000, event.cost_nano) for event in events]


def later(begun: dt.datetime, seconds: float) -> dt.datetime:
    return begun + dt.timedelta(seconds=seconds)


def test_each_minute_that_an_engine_is_ready_is_on_the_bill(ada: Person, settings: Any) -> None:
    begun = begin()
    row = made(ada, begun=begun, wanted=2, replicas_max=2)
    engines_meter(at=later(begun, 10))  # one is being started: that costs nothing
    say(settings, row, "one", ready_s=2.0)
    engines_meter(at=later(begun, 22))  # since second 20
    say(settings, row, "one", "two", "one too many")
    for seconds in (*range(27, 163, 5), 163):
        engines_meter(at=later(begun, seconds))
    # Minutes end at 43, 103 and 163; "two" counts from the look before the first that saw it.
    assert charged(ada) == [(seconds, seconds * SECOND) for seconds in ((43 - 20) + (43 - 22), 120, 120)]
    with tenant_scope(ada.tenant.id):
        assert month_of_engines(row) == (284, 284 * SECOND)
    usage_rollup(tenant_id=ada.tenant.id)
    lines_post(tenant_id=ada.tenant.id)
    with tenant_scope(ada.tenant.id):
        (line, *_) = invoice_preview().usage_lines
    assert (line.description, line.quantity, line.unit) == (f"Engines of its own · {BASE}", 284, "engine-seconds")
    assert line.amount_nano == 284 * SECOND
    since = f"start_time={int((begun - dt.timedelta(hours=1)).timestamp())}"
    page = ada.api.get(f"/v1/organization/usage/dedicated?{since}").json()
    results = [result for bucket in page["data"] for result in bucket["results"]]
    assert [(one["x_engine_seconds"], one["num_model_requests"]) for one in results] == [(284, 0)]
    costs = ada.api.get(f"/v1/organization/costs?group_by=line_item&{since}").json()
    amounts = [one["x_amount_nano"] for bucket in costs["data"] for one in bucket["results"]]
    assert amounts == [284 * SECOND]
    assert list(findings([ada.tenant.id])) == []


def test_a_look_that_is_lost_killed_doubled_or_late_changes_no_sum(ada: Person, settings: Any) -> None:
    begun = begin()
    row = made(ada, begun=begun)
    say(settings, row, "one")
    engines_meter(at=later(begun, 5))
    with transaction.atomic():  # the process dies before the look is written down
        engines_meter(at=later(begun, 50))
        transaction.set_rollback(True)
    assert charged(ada) == [] and own(row).open_seconds == 5
    engines_meter(at=later(begun, 50))
    assert [seconds for seconds, _ in charged(ada)] == [43]
    for seconds in (50, 20, 5):  # rung twice, and by a worker that was held up
        engines_meter(at=later(begun, seconds))
    assert [seconds for seconds, _ in charged(ada)] == [43] and own(row).open_seconds == 7

    def at_once() -> None:
        engines_meter(at=later(begun, 343))
        connections.close_all()

    threads = [threading.Thread(target=at_once) for _ in range(4)]  # five minutes without a look, then four of them
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sum(seconds for seconds, _ in charged(ada)) == 343
    assert own(row).open_seconds == 0


def test_what_is_left_of_a_minute_is_charged_once_the_deployment_ended(ada: Person, settings: Any) -> None:
    begun = begin()
    row = made(ada, begun=begun)
    say(settings, row, "one")
    engines_meter(at=later(begun, 31))
    assert charged(ada) == []
    with tenant_scope(ada.tenant.id):
        deployment_stop(deployment=row)
    for seconds in (40, 45, 500):
        engines_meter(at=later(begun, seconds))
    assert charged(ada) == [(31, 31 * SECOND)]


@pytest.mark.parametrize("how", ["stopped", "failed", "stopped by an older server"])
def test_of_a_deployment_that_ended_no_engines_run_or_start_or_are_halted(ada: Person, settings: Any, how: str) -> None:
    row = made(ada, wanted=2, replicas_max=2)
    with tenant_scope(ada.tenant.id):
        found = Dedicated.objects.filter(deployment=row)
        found.update(ready=1, cold_since=now(), halted="spend_limit", scaling={"up_since": 1.0})
        if how == "stopped":
            deployment_stop(deployment=row)
        elif how == "failed":
            Deployment.objects.filter(pk=row.pk).update(state="loading", created_at=now() - dt.timedelta(hours=1))
        else:
            Deployment.objects.filter(pk=row.pk).update(state="stopped", ended_at=now())
    if how == "failed":
        deployments_sweep()
    told = wire(ada, row)
    assert (told["state"], told["replicas_wanted"], told["replicas_ready"], told["halted"]) == ("cold", 0, 0, None)
    page = ada.browser.get(f"{ada.workspace}/deployments/{row.public_id}/").content.decode()
    for gone in ("Being started", "A spend limit no longer", "The shared engines serve"):
        assert gone not in page
    assert "Engine time this month" in page
    if how != "stopped by an older server":
        left = own(row)
        assert (left.wanted, left.ready, left.scaling, left.cold_since, left.halted) == (0, 0, {}, None, "")


@pytest.mark.parametrize(
    ("facts", "state"),
    [({"draining": True}, "live"), ({"bases": []}, "live"), ({}, "loading"), ({"pool": "dep_0"}, "live")],
    ids=["it leaves", "its base is still being loaded", "the model is still being checked", "it is another's"],
)
def test_what_is_not_ready_to_serve_costs_nothing(ada: Person, settings: Any, facts: Any, state: str) -> None:
    begun = begin()
    row = made(ada, begun=begun)
    with tenant_scope(ada.tenant.id):
        Deployment.objects.filter(pk=row.pk).update(state=state)
    say(settings, row, "one", **facts)
    for seconds in (60, 120, 180):
        engines_meter(at=later(begun, seconds))
    assert charged(ada) == [] and own(row).open_seconds == 0


def test_a_spend_limit_stops_them_says_so_and_lets_them_go_on(ada: Person, settings: Any) -> None:
    begun = begin()
    row = made(ada, begun=begun, wanted=0, replicas_min=1)
    scale()
    assert wire(ada, row)["state"] == "starting"
    say(settings, row, "one")
    with tenant_scope(ada.tenant.id):
        spend_limit_set(monthly_nano=150 * SECOND)
    engines_meter(at=later(begun, 43))
    assert (wire(ada, row)["state"], wire(ada, row)["halted"]) == ("running", None)
    mail.outbox.clear()
    engines_meter(at=later(begun, 103))  # 103 s are spent; another minute is more than there is
    engines_meter(at=later(begun, 108))
    told = wire(ada, row)
    assert (told["state"], told["halted"], told["replicas_wanted"]) == ("halted", "spend_limit", 0)
    subject = f"{row.model.suffix}: its own engines were stopped at a spend limit"
    assert [one.subject for one in mail.outbox] == [subject]
    assert pools.desired().get(pool_of(row)) is None
    assert routes_of(tenant_id=ada.tenant.id, project_id=ada.project.id)[row.model.name].halted
    scale()
    assert wire(ada, row)["replicas_wanted"] == 0, "a call does not wake them"
    engines_meter(at=later(begun, 223))  # it takes its time to leave, on our cost
    assert sum(seconds for seconds, _ in charged(ada)) == 103
    silence()
    with tenant_scope(ada.tenant.id):
        spend_limit_set(monthly_nano=3_700 * SECOND)
    engines_meter(at=later(begun, 283))
    assert wire(ada, row)["halted"] == "spend_limit", "less than an hour of them is left"
    with tenant_scope(ada.tenant.id):
        spend_limit_set(monthly_nano=4_000 * SECOND)
    engines_meter(at=later(begun, 338))
    assert wire(ada, row)["halted"] == "spend_limit", "limits are asked once a minute, for asking takes from calls"
    engines_meter(at=later(begun, 343))
    scale()
    assert (wire(ada, row)["state"], wire(ada, row)["halted"]) == ("starting", None)
    with tenant_scope(ada.tenant.id):
        said = list(DeploymentEvent.objects.filter(deployment=row).order_by("pk").values_list("message", flat=True))
    assert said[-1] == "Its engines may run again." and said[-2].startswith("Its engines were stopped: a spend limit")
    assert list(findings([ada.tenant.id])) == []


def test_what_no_limit_carries_is_counted_and_not_charged(ada: Person, settings: Any) -> None:
    begun = begin()
    row = made(ada, begun=begun)
    say(settings, row, "one")
    with tenant_scope(ada.tenant.id):
        spend_limit_set(monthly_nano=150 * SECOND)
    engines_meter(at=later(begun, 43))
    engines_meter(at=later(begun, 403))  # nobody looked for six minutes, so nobody could stop it in time
    assert [sum(column) for column in zip(*charged(ada), strict=True)] == [403, 150 * SECOND]
    assert own(row).halted == "spend_limit"
    assert list(findings([ada.tenant.id])) == []


def test_a_suspended_organisations_engines_are_stopped(ada: Person, settings: Any) -> None:
    row = made(ada, wanted=0, replicas_min=1)
    scale()
    with tenant_scope(ada.tenant.id):
        tenant_set_status(tenant=ada.tenant, status="suspended", reason="tests")
    engines_meter()
    scale()
    assert (own(row).halted, own(row).wanted) == ("suspended", 0)
    with tenant_scope(ada.tenant.id):
        tenant_set_status(tenant=ada.tenant, status="active", reason="tests")
    engines_meter(at=later(now(), 5))
    scale()
    assert (own(row).halted, own(row).wanted) == ("", 1)


def test_a_live_deployment_moves_to_its_own_engines_once_one_is_ready_and_back(ada: Person, settings: Any) -> None:
    version = make_model(ada)
    answer = ada.api.post("/v1/deployments", {"model": version.model.name})
    row = deployment(ada, answer.json()["id"])
    with tenant_scope(ada.tenant.id):
        Deployment.objects.filter(pk=row.pk).update(state="live", live_at=now())
    path = f"/v1/deployments/{row.public_id}"

    def pool() -> str:
        return routes_of(tenant_id=ada.tenant.id, project_id=ada.project.id)[version.model.name].pool

    changed = ada.api.post(path, {"dedicated": {"replicas_max": 2}})
    assert changed.status_code == 200 and changed.json()["dedicated"]["replicas_max"] == 2
    scale()
    assert (wire(ada, row)["state"], pool()) == ("starting", "shared"), "calls stay where an engine is"
    begun = own(row).cold_since
    assert begun is not None
    say(settings, row, "one", ready_s=1.0)
    engines_meter(at=later(begun, 9))
    told = wire(ada, row)
    assert (told["state"], told["replicas_ready"], told["cold_start_ms"]) == ("running", 1, 8_000)
    assert pool() == pool_of(row)
    ada.api.post(path, {"dedicated": {"replicas_min": 1, "replicas_max": 3, "idle_seconds": 600}})
    assert (own(row).replicas_min, own(row).idle_seconds, own(row).serves) == (1, 600, True)
    engines_meter(at=later(begun, 29))
    seconds = sum(one for one, _ in charged(ada)) + own(row).open_seconds
    back = ada.api.post(path, {"dedicated": None})
    assert back.json()["dedicated"] is None and pool() == "shared"
    assert sum(one for one, _ in charged(ada)) == seconds, "the rest was charged when it went back"
    with tenant_scope(ada.tenant.id):
        told_of = AuditEvent.objects.filter(action="deployment.dedicated").count()
    assert told_of == 3
    assert ada.api.post(path, {}).json()["error"]["message"].startswith("Send 'alias', 'precision' or 'ded")


def test_where_there_are_none_it_says_why(ada: Person, settings: Any) -> None:
    def asked(person: Person, most: int = 1) -> tuple[int, str, str]:
        version = make_model(person)
        answer = person.api.post("/v1/deployments", {"model": version.model.name, "dedicated": {"replicas_max": most}})
        error = answer.json().get("error", {})
        return answer.status_code, error.get("code", ""), error.get("message", "")

    free = make_person("fay")
    status, code, message = asked(free)
    assert (status, code) == (409, "dedicated_not_in_plan") and "The Developer plan of today has some" in message
    settings.DEDICATED_REPLICAS = 0
    assert asked(free)[:2] == (400, "dedicated_not_offered")
    settings.DEDICATED_REPLICAS, settings.DEDICATED_REPLICAS_PER_TENANT = 10_000, 50
    status, code, message = asked(ada, 5)
    assert (status, code) == (409, "dedicated_full") and "Your plan has 4 engines of its own here; 0 are" in message
    settings.DEDICATED_REPLICAS_PER_TENANT = 2
    assert "An organization may have 2 engines" in asked(ada, 3)[2]
    row = made(ada, replicas_max=2)
    path = f"/v1/deployments/{row.public_id}"
    assert ada.api.post(path, {"dedicated": {"replicas_max": 1}}).status_code == 200, "its own are its own room"
    assert ada.api.post(path, {"dedicated": {"replicas_max": 3}}).json()["error"]["code"] == "dedicated_full"
    over = made(ada, replicas_max=1)
    with tenant_scope(ada.tenant.id):
        Dedicated.objects.filter(deployment=over).update(replicas_max=4)
        override_set(limits={"own_engines": 0}, reason="a plan that shrank", created_by="tests")
    path = f"/v1/deployments/{over.public_id}"
    for most, status in ((5, 409), (3, 200), (3, 200), (4, 409)):
        answer = ada.api.post(path, {"dedicated": {"replicas_min": 1, "replicas_max": most}})
        assert answer.status_code == status, "over its plan it can only have fewer"
    with tenant_scope(free.tenant.id):
        override_set(limits={"own_engines": 1}, reason="a trial", created_by="tests")
    assert asked(free)[0] == 200
