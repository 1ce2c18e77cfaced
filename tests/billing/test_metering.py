"""From events to sums to rated lines: exact, whatever comes twice, late or out of order."""

from __future__ import annotations

import datetime as dt
import random
import uuid
from collections import defaultdict
from pathlib import Path

import psycopg
import pytest
from django.db import DatabaseError, connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.metering import PoisonEvent, PostgresSink, Shipper, SpoolWriter, UsageEvent, event_id
from billing.models import DirtyHour, RatedLine, UsageHour
from billing.models import UsageEvent as UsageRow
from billing.periods import to_ms
from billing.prices import Usage
from billing.services import metering
from billing.services.gate import sink_dsn
from billing.services.metering import usage_record, usage_rollup, usage_rollup_all
from tenants.scope import tenant_scope
from tests.conftest import Cast, make_person

START = dt.datetime(2026, 11, 20, 22, tzinfo=dt.UTC)


def event(tenant_id: uuid.UUID, number: int, *, tokens: int, minute: int, kind: str = "classify") -> UsageEvent:
    request = f"req_{tenant_id.hex}_{number}"
    return UsageEvent(
        event_id=event_id(tenant_id, request, kind),
        request_id=request,
        tenant_id=tenant_id,
        project_id=tenant_id,
        key_id=None if number % 3 == 0 else uuid.UUID(int=number % 2 + 1),
        model=f"ft:base:o:s:{number % 2}",
        kind=kind,
        input_tokens=tokens,
        output_tokens=0,
        requests=1,
        gpu_ms=1,
        price_version="2026-11-01",
        cost_nano=20 * tokens,
        occurred_at=to_ms(START + dt.timedelta(minutes=minute)),
    )


def test_a_shipped_event_is_a_row_once_and_dirties_its_hour(cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    sink = PostgresSink(sink_dsn())
    events = [event(tenant_id, n, tokens=10, minute=n) for n in range(3)]
    sink(events)
    with tenant_scope(tenant_id):
        assert UsageRow.objects.count() == 3
        assert [mark.hour for mark in DirtyHour.objects.all()] == [START]
    usage_rollup(tenant_id=tenant_id)
    sink(events)
    with tenant_scope(tenant_id):
        assert UsageRow.objects.count() == 3
        assert not DirtyHour.objects.exists(), "a double changes no sum"
    sink.close()


def test_one_batch_may_carry_many_tenants_and_each_sees_its_own(cast: Cast) -> None:
    sink = PostgresSink(sink_dsn())
    tenants = [cast.owner.tenant.id, cast.stranger.tenant.id]
    sink([event(tenant, n, tokens=5, minute=0) for n in range(4) for tenant in tenants])
    for tenant in tenants:
        with tenant_scope(tenant):
            assert UsageRow.objects.count() == 4
    sink.close()


def test_an_event_of_a_tenant_that_is_gone_is_set_aside_and_the_rest_arrives(cast: Cast, tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path)
    writer.append(event(cast.owner.tenant.id, 1, tokens=5, minute=0))
    writer.append(event(uuid.uuid4(), 2, tokens=5, minute=0))
    writer.append(event(cast.owner.tenant.id, 3, tokens=5, minute=0))
    sink = PostgresSink(sink_dsn())
    with pytest.raises(PoisonEvent):
        sink([event(uuid.uuid4(), 2, tokens=5, minute=0)])
    assert Shipper(tmp_path, sink, writer=writer).ship() == 2
    assert (tmp_path / "rejected.jsonl").exists()
    with tenant_scope(cast.owner.tenant.id):
        assert UsageRow.objects.count() == 2
    sink.close()
    writer.close()


def test_usage_events_cannot_be_changed_or_deleted(cast: Cast) -> None:
    with tenant_scope(cast.owner.tenant.id):
        usage_record(
            request_id="r", usage=Usage("training", "b", input_tokens=1), project_id=cast.owner.project.id, key_id=None
        )
    for statement in ("UPDATE billing_usageevent SET cost_nano = 0", "DELETE FROM billing_usageevent"):
        with pytest.raises(DatabaseError, match="permission denied"), tenant_scope(cast.owner.tenant.id):
            with connection.cursor() as cursor:
                cursor.execute(statement)


def test_recording_twice_records_once_and_a_ceiling_only_lowers(cast: Cast) -> None:
    with tenant_scope(cast.owner.tenant.id):
        usage = Usage("training", "b", input_tokens=100)
        first = usage_record(request_id="r", usage=usage, project_id=cast.owner.project.id, key_id=None, cost_nano=7)
        again = usage_record(request_id="r", usage=usage, project_id=cast.owner.project.id, key_id=None)
        assert (first.pk, first.cost_nano) == (again.pk, 7)
        full = usage_record(
            request_id="r2", usage=usage, project_id=cast.owner.project.id, key_id=None, cost_nano=10**12
        )
        assert full.cost_nano == 100 * 400


Delivery = st.lists(
    st.tuples(st.integers(0, 12), st.integers(0, 1000), st.integers(0, 300), st.booleans()), min_size=1, max_size=25
)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(deliveries=st.lists(Delivery, min_size=1, max_size=4), seed=st.integers(0, 10**6))
def test_sums_equal_the_events_whatever_is_doubled_late_or_disordered(
    deliveries: list[list[tuple[int, int, int, bool]]], seed: int
) -> None:
    tenant_id = make_person("meter").tenant.id
    sink = PostgresSink(sink_dsn())
    truth: dict[uuid.UUID, UsageEvent] = {}
    for batch in deliveries:
        events = [event(tenant_id, number, tokens=tokens, minute=minute) for number, tokens, minute, _ in batch]
        random.Random(seed).shuffle(events)
        for one in events:
            truth.setdefault(one.event_id, one)
        sink([truth[one.event_id] for one in events])
        if batch[0][3]:
            usage_rollup(tenant_id=tenant_id)
    sink.close()
    usage_rollup(tenant_id=tenant_id)
    with tenant_scope(tenant_id):
        hours = list(UsageHour.objects.all())
        lines = list(RatedLine.objects.all())
    assert sum(hour.events for hour in hours) == len(truth)
    assert sum(hour.input_tokens for hour in hours) == sum(one.input_tokens for one in truth.values())
    by_hour: dict[dt.datetime, int] = defaultdict(int)
    for one in truth.values():
        by_hour[START + dt.timedelta(hours=(one.occurred_at - to_ms(START)) // 3_600_000)] += one.cost_nano
    found: dict[dt.datetime, int] = defaultdict(int)
    for hour in hours:
        found[hour.hour] += hour.cost_nano
    assert found == by_hour
    assert sum(line.amount_nano for line in lines) == sum(by_hour.values())


def test_the_tick_rolls_up_every_tenant(cast: Cast) -> None:
    sink = PostgresSink(sink_dsn())
    tenants = [cast.owner.tenant.id, cast.stranger.tenant.id]
    sink([event(tenant, 1, tokens=5, minute=0) for tenant in tenants])
    sink.close()
    usage_rollup_all()
    for tenant in tenants:
        with tenant_scope(tenant):
            assert UsageHour.objects.get().cost_nano == 100


def test_the_app_role_cannot_read_another_tenants_usage(cast: Cast) -> None:
    sink = PostgresSink(sink_dsn())
    sink([event(cast.owner.tenant.id, 1, tokens=5, minute=0)])
    sink.close()
    with psycopg.connect(sink_dsn()) as raw:
        assert raw.execute("SELECT count(*) FROM billing_usageevent").fetchone() == (0,)
        raw.execute("SELECT set_config('app.tenant_id', %s, true)", [str(cast.stranger.tenant.id)])
        assert raw.execute("SELECT count(*) FROM billing_usageevent").fetchone() == (0,)


def test_a_busy_hour_is_not_summed_on_every_tick(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    tenant_id = cast.owner.tenant.id
    monkeypatch.setattr(metering, "BUSY_EVENTS", 2)
    sink = PostgresSink(sink_dsn())
    sink([event(tenant_id, n, tokens=5, minute=0) for n in range(3)])
    assert usage_rollup(tenant_id=tenant_id) == 1
    sink([event(tenant_id, 9, tokens=5, minute=0), event(tenant_id, 10, tokens=5, minute=70)])
    sink.close()
    assert usage_rollup(tenant_id=tenant_id) == 1, "the quiet hour alone"
    monkeypatch.setattr(metering, "BUSY_SECONDS", 0)
    assert usage_rollup(tenant_id=tenant_id) == 1
    with tenant_scope(tenant_id):
        assert sum(hour.events for hour in UsageHour.objects.all()) == 5


def test_summing_tells_a_key_when_it_was_last_used(cast: Cast) -> None:
    key = cast.owner.key_row
    with tenant_scope(cast.owner.tenant.id):
        made = usage_record(
            request_id="r", usage=Usage("classify", "b", input_tokens=1), project_id=key.project_id, key_id=key.id
        )
    assert usage_rollup(tenant_id=cast.owner.tenant.id) == 1
    with tenant_scope(cast.owner.tenant.id):
        key.refresh_from_db()
    assert key.last_used_at == made.occurred_at
