"""Cost and margin of machines: what looks count is laid on those who used it, to the nano."""

import csv
import datetime as dt
import io
import time
from decimal import Decimal
from typing import Any

import pytest
from django.conf import settings

from billing.models import LedgerEntry, LedgerTransaction, MachineHour, UsageHour
from billing.periods import start_of
from billing.prices.machines_file import machine_prices
from billing.services.machines import Look, machines_seen
from inference.announcement import NAMES, SHARED, Heartbeat, key_of, signed
from kit import redis
from kit.clock import now
from ops.margins import margins
from serving.engines import engines_seen
from tenants.scope import ops_scope, tenant_scope
from tests.billing.subscribed import YEARS, changed
from tests.conftest import Cast, Person
from tests.console.things import made_job
from tests.ops.test_planner import words
from training.models import Attempt, Job, Slot
from training.services.seeing import places_seen

NANO = 10**9
MONTHS = iter(dt.date(2026, month, 1) for month in (2, 3, 4, 5, 6))
"""A month of each test's own: the machines of a month are of all tests."""
HOUR_MS = 3_600_000


def an_hour(machine: str, machine_class: str, hour: dt.datetime, ms: int = HOUR_MS, busy: int = 0) -> int:
    """A machine that was there; what it costs."""
    cost = ms * machine_prices(int(hour.timestamp() * 1000)).ms_nano[machine_class]
    MachineHour.objects.create(
        machine=machine, machine_class=machine_class, hour=hour, capacity_ms=ms, busy_ms=busy,
        cost_nano=cost, price_version="2026-11-30", looked_at=hour,
    )  # fmt: skip
    return cost


def used(person: Person, hour: dt.datetime, model: str, ms: int, nano: int, kind: str = "classify") -> None:
    """An hour's sum of calls."""
    with tenant_scope(person.tenant.id):
        UsageHour.objects.create(
            project_id=person.project.id, model=model, kind=kind, price_version="2026-11-01", hour=hour,
            input_tokens=0, output_tokens=0, requests=10, gpu_ms=ms, cost_nano=nano, events=10,
        )  # fmt: skip


def trained(person: Person, began: dt.datetime, hours: int, host: str, price: int, width: int = 1) -> Job:
    """A job that trained on a host."""
    job = made_job(person, width=width, ceiling_nano=price, price_nano=price)
    with tenant_scope(person.tenant.id):
        ended = began + dt.timedelta(hours=hours)
        Attempt.objects.create(job=job, number=9, worker=f"{host}/1/2", started_at=began, ended_at=ended)
    return job


def booked(person: Person, at: dt.datetime, nano: int) -> None:
    """Revenue of usage, as the ledger has it."""
    with tenant_scope(person.tenant.id):
        row = LedgerTransaction.objects.create(kind="test", key=f"margin {at:%Y-%m-%d}", at=at)
        LedgerEntry.objects.create(transaction=row, account="unbilled", amount_nano=nano)
        LedgerEntry.objects.create(transaction=row, account="usage_revenue", amount_nano=-nano)


def test_looks_a_minute_apart_make_hours_and_their_cost() -> None:
    start = dt.datetime(2026, 1, 5, 10, 58, tzinfo=dt.UTC)
    for minute in range(5):
        look = Look("looked/0", "trainer_cpu", minute % 2 == 1)
        assert machines_seen([look], at=start + dt.timedelta(minutes=minute)) == 1
        machines_seen([look], at=start + dt.timedelta(minutes=minute)), "twice is once"
    machines_seen([Look("looked/0", "trainer_cpu", True)], at=start), "late is never"
    machines_seen([Look("looked/0", "trainer_cpu", True)], at=start + dt.timedelta(minutes=20))
    rows = MachineHour.objects.filter(machine="looked/0").order_by("hour")
    assert [(row.hour.hour, row.capacity_ms, row.busy_ms) for row in rows] == [
        (10, 120_000, 60_000),
        (11, 120_000, 60_000),
    ]
    assert [row.cost_nano for row in rows] == [120_000 * 30] * 2 and rows[0].price_version == "2026-11-30"


def test_places_and_engines_that_are_there_are_counted() -> None:
    for number, (kind, ago) in enumerate([("cuda-bf16", 0), ("cpu-bf16", 0), ("cpu-fp32", 3600)]):
        heard = now() - dt.timedelta(seconds=ago)
        Slot.objects.create(host="seen", number=number, kind=kind, heartbeat_at=heard)
    assert places_seen() >= 2
    places = MachineHour.objects.filter(machine__startswith="seen/").order_by("machine")
    assert [place.machine_class for place in places] == ["trainer_gpu", "trainer_cpu"], "the third is silent"
    Slot.objects.filter(host="seen").delete()
    for name, pool in (("seen-a", SHARED), ("seen-b", "dedicated_x")):
        beat = Heartbeat(name=name, address="127.0.0.1:1", at=time.time(), pool=pool)
        redis.client().set(key_of(name), signed(beat, settings.ENGINE_TOKEN), ex=5)
        redis.client().sadd(NAMES, name)
    assert engines_seen() >= 2
    redis.client().srem(NAMES, "seen-a", "seen-b")
    rows = MachineHour.objects.filter(machine__in=["engine:seen-a", "engine:seen-b"]).order_by("machine")
    assert [row.machine_class for row in rows] == ["engine", "engine_own"]


def test_cost_is_laid_on_users_to_the_nano_under_both_rules(ada: Person, cast: Cast) -> None:
    month = next(MONTHS)
    hour = start_of(month) + dt.timedelta(days=2)
    cost = an_hour("eng-a", "engine", hour) + an_hour("eng-b", "engine", hour, 1_234_567)
    cost += an_hour("host-a/0", "trainer_gpu", hour) + an_hour("host-a/1", "trainer_gpu", hour)
    cost += an_hour("eng-own", "engine_own", hour, 777)
    used(cast.owner, hour, "refunds", 1_000_001, 5 * NANO)
    used(cast.stranger, hour, "refunds", 333_333, NANO)
    job = trained(cast.owner, hour, 1, "host-a", 3 * NANO)
    booked(cast.owner, hour, 2 * NANO)
    with ops_scope("test"):
        found = margins(month)
    assert found.cost == cost and found.house == 777 * 60
    for lines in (found.tenants, found.models):
        assert sum(line.share.cost for line in lines) + found.house == cost
        assert sum(line.share.own for line in lines) + found.idle == cost
    (one,) = found.jobs
    assert (one.name, one.share.own, one.share.idle, one.revenue) == (
        job.public_id, HOUR_MS * 700, HOUR_MS * 700, 3 * NANO
    )  # fmt: skip
    mine = next(line for line in found.tenants if line.tenant == cast.owner.tenant.name)
    assert mine.revenue == 2 * NANO and mine.margin_own == 2 * NANO - mine.share.own > mine.margin
    said = words(ada.browser.get(f"/staff/economics/margin/?month={month:%Y-%m}"))
    assert "Places to train, with GPU 2 2.0 50.0%" in said and job.public_id in said and "both rules" in said
    rows = list(
        csv.DictReader(
            io.StringIO(ada.browser.get(f"/staff/economics/csv/margin/?month={month:%Y-%m}").content.decode())
        )
    )
    for part in ("organisation", "model"):
        parts = [row for row in rows if row["part"] in (part, "house")]
        assert sum(Decimal(row["cost_own"] or 0) + Decimal(row["cost_idle"]) for row in parts) == Decimal(cost) / NANO


def test_calls_of_a_model_with_engines_of_its_own_are_carried_by_those(cast: Cast) -> None:
    month = next(MONTHS)
    hour = start_of(month)
    an_hour("eng-c", "engine", hour)
    own = an_hour("eng-d", "engine_own", hour)
    used(cast.owner, hour, "mine", HOUR_MS, NANO, kind="dedicated")
    used(cast.owner, hour, "mine", 500, NANO)
    used(cast.stranger, hour, "shared", 100, NANO)
    with ops_scope("test"):
        lines = {(line.name, line.purpose): line for line in margins(month).models}
    assert lines["mine", "own_engines"].share.cost == own and lines["mine", "own_engines"].revenue == 2 * NANO
    assert lines["shared", "calls"].share.ms == 100 and ("mine", "calls") not in lines


def test_a_training_counts_in_each_month_by_its_time_there_and_by_its_places(cast: Cast) -> None:
    first, second = next(MONTHS), next(MONTHS)
    an_hour("host-b/0", "trainer_cpu", start_of(first))
    an_hour("host-b/0", "trainer_cpu", start_of(second))
    trained(cast.owner, start_of(second) - dt.timedelta(hours=1), 3, "host-b", NANO, width=2)
    with ops_scope("test"):
        spent = [margins(month).jobs[0].share for month in (first, second)]
    assert [share.ms for share in spent] == [2 * HOUR_MS, 4 * HOUR_MS]
    assert [share.cost for share in spent] == [HOUR_MS * 30] * 2, "more was used than was seen: all of the cost is use"


def test_a_month_without_machines_says_so(ada: Person, cast: Cast) -> None:
    month = next(MONTHS)
    page = f"/staff/economics/margin/?month={month:%Y-%m}"
    assert "No machine was seen and nothing was used in this month." in words(ada.browser.get(page))
    used(cast.owner, start_of(month), "refunds", 5, NANO)
    said: Any = words(ada.browser.get(page))
    assert "so nothing has a cost" in said and "refunds" in said


@pytest.fixture(autouse=True)
def _subscribed(cast: Cast) -> None:
    """The pages begin with the first subscription: there is one before all months here."""
    changed(cast.owner, start_of(dt.date(next(YEARS), 1, 1)), status="canceled")
