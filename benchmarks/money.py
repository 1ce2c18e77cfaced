"""What the money path costs with many events and many tenants, and how that grows.

    python benchmarks/money.py [--events 1000000 10000000] [--tenants 10000] [--ingest 100000] [--close 300]

For each number of events a fresh durable PostgreSQL and a Redis in a temporary home. The events are last month's: one
organisation has a fifth of them, the others the rest, unevenly, each in some hours of the month. Printed: events a
second from the write-ahead file to the table, seconds to sum all hours and days afresh, the usage page of the large
organisation (p50, p95 over HTTP handling in this process), seconds to post to the ledger and to close the month of all
tenants, seconds of the nightly look at the books, and the size of the events; at the end the growth.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import os
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from product import ROOT  # noqa: F401  # puts the import roots in order

SQL_TENANTS = """
INSERT INTO tenants_tenant (id, name, slug, status, created_at)
SELECT gen_random_uuid(), 'T' || n, 't-' || n, 'active', now() - interval '60 days'
FROM generate_series(1, {tenants}) n;
INSERT INTO tenants_project (id, tenant_id, name, slug, created_at)
SELECT gen_random_uuid(), id, 'Default', 'default', created_at FROM tenants_tenant WHERE slug LIKE 't-%';
CREATE TABLE benchmark_place AS
SELECT row_number() OVER (ORDER BY tenant_id) - 1 AS n, tenant_id, id AS project_id
FROM tenants_project WHERE tenant_id <> '{large}';
CREATE UNIQUE INDEX ON benchmark_place (n)
"""
SQL_EVENTS = """
INSERT INTO billing_usageevent (id, request_id, tenant_id, project_id, key_id, model, kind, input_tokens, output_tokens,
  requests, gpu_ms, price_version, cost_nano, occurred_at, cached_tokens, received_at)
SELECT gen_random_uuid(), 'req_' || n, tenant_id, project_id, NULL, '{model}', 'classify', tokens, 0, 1, 0, '{version}',
  tokens * {per_token} + {per_request}, timestamptz '{start}' + hour * interval '1 hour' + random() * interval '3599 s',
  0, now()
FROM (
  SELECT n, 20 + (random() * 100)::int AS tokens,
    CASE WHEN n % 5 = 0 THEN -1 ELSE floor(random() ^ 2 * {tenants})::int END AS place,
    CASE WHEN n % 5 = 0 THEN floor(random() * {hours})::int END AS any_hour, floor(random() * 8)::int AS turn
  FROM generate_series({first}, {last}) n
) drawn
CROSS JOIN LATERAL (
  SELECT '{large}'::uuid AS tenant_id, '{project}'::uuid AS project_id WHERE place = -1
  UNION ALL
  SELECT tenant_id, project_id FROM benchmark_place WHERE n = place AND place >= 0
) whose
CROSS JOIN LATERAL (SELECT coalesce(any_hour, (place * 37 + turn * 91) % {hours}) AS hour) moment
"""
"""A small organisation works in eight hours of the month, the large one in all of them."""
SQL_INDEXES = """
SELECT 'ALTER TABLE billing_usageevent DROP CONSTRAINT ' || conname,
  'ALTER TABLE billing_usageevent ADD CONSTRAINT ' || conname || ' ' || pg_get_constraintdef(oid)
FROM pg_constraint WHERE conrelid = 'billing_usageevent'::regclass AND contype IN ('p', 'u')
UNION ALL
SELECT 'DROP INDEX ' || indexname, indexdef FROM pg_indexes
WHERE tablename = 'billing_usageevent' AND indexname NOT IN (SELECT conname FROM pg_constraint)
"""
SQL_DIRTY = """
INSERT INTO billing_dirtyhour (id, tenant_id, hour, marks, marked_at)
SELECT gen_random_uuid(), tenant_id, date_trunc('hour', occurred_at, 'UTC'), 1, clock_timestamp()
FROM billing_usageevent GROUP BY 2, 3
"""
"""What the trigger on the events does."""
SQL_FEW = "DELETE FROM billing_ratedline WHERE tenant_id <> ALL(%s)"
AT_ONCE = 250_000


class Figures:
    """Named figures of one size, in the order they came; printed as they come."""

    def __init__(self, events: int) -> None:
        self.values: dict[str, float] = {}
        print(f"{events:,} events", flush=True)

    def note(self, name: str, value: float, unit: str) -> None:
        self.values[f"{name}, {unit}"] = value
        print(f"  {name:<58} {value:>12,.1f} {unit}", flush=True)

    @contextlib.contextmanager
    def timed(self, name: str) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        self.note(name, time.perf_counter() - begun, "s")


def main() -> int:
    """Measure each size in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--tenants", type=int, default=10_000)
    parser.add_argument("--ingest", type=int, default=100_000)
    parser.add_argument("--close", type=int, default=0, help="post, close and look at this many organisations only")
    arguments = parser.parse_args()
    os.environ |= {"DJANGO_SETTINGS_MODULE": "config.settings", "LOG_LEVEL": "ERROR", "DEBUG": "false"}
    os.environ |= {"SECRET_KEY": "for a benchmark on this machine only, thrown away after it has run"}
    os.environ |= {"ALLOWED_HOSTS": "testserver", "SECURE_SSL_REDIRECT": "false"}
    found = []
    with tempfile.TemporaryDirectory(prefix="money-") as home:
        os.chmod(home, 0o755)
        os.environ["TUNESMITH_HOME"] = home
        with engines(Path(home)) as (wipe, owner):
            for events in arguments.events:
                wipe()
                found.append(measure(owner, events, arguments.tenants, arguments.ingest, arguments.close))
    if len(found) > 1:
        print(f"from {arguments.events[0]:,} to {arguments.events[-1]:,} events")
        for name, before in found[0].values.items():
            print(f"  {name:<70} x {found[-1].values[name] / max(before, 1e-9):6.2f}")
    print(f"load average at the end: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    return 0


@contextlib.contextmanager
def engines(home: Path) -> Iterator[tuple[Callable[[], None], str]]:
    """A database with the schema, how to empty it, and the address for its owner."""
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connections

    from config import embedded
    from config.engines import Postgres, Redis, make_roles

    postgres, redis = Postgres(home), Redis(home)
    postgres.start()
    redis.start()
    superuser = embedded.superuser_url(home, embedded.DATABASE)

    def wipe() -> None:
        import psycopg

        with psycopg.connect(superuser, autocommit=True) as connection:
            connection.execute("DROP TABLE IF EXISTS benchmark_place")
            connection.execute("SET session_replication_role = replica")  # past the triggers that keep books for ever
            connection.execute("TRUNCATE tenants_tenant, tenants_user, billing_usageevent CASCADE")

    try:
        make_roles(embedded.superuser_url(home), embedded.DATABASE)
        call_command("migrate", database="owner", verbosity=0)
        call_command("collectstatic", interactive=False, verbosity=0)
        yield wipe, superuser
    finally:
        connections.close_all()
        redis.stop()
        postgres.stop()


def measure(url: str, events: int, tenants: int, ingest: int, limit: int) -> Figures:
    """All figures for one number of events."""
    import psycopg
    from django.db import connections

    from billing.periods import bounds, month_of
    from billing.selectors.invariants import findings
    from billing.services.ledger import lines_post_all, periods_close_all
    from billing.services.metering import usage_rollup_all
    from kit.clock import now
    from tests.conftest import make_person

    figures, person = Figures(events), make_person("bench")
    start, end = bounds(month_of(month_of(now()) - dt.timedelta(days=1)))
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in SQL_TENANTS.format(tenants=tenants, large=person.tenant.pk).split(";"):
            connection.execute(statement)
        places = connection.execute("SELECT tenant_id, project_id FROM benchmark_place ORDER BY n").fetchall()
        with figures.timed("the table filled by the benchmark itself"):
            hours = int((end - start).total_seconds()) // 3600
            seed(url, events, start, hours=hours, person=person, places=places)
        [[size]] = connection.execute("SELECT pg_total_relation_size('billing_usageevent')").fetchall()
    few = [person.tenant.pk, *(one for one, _ in places[:: len(places) // limit][: limit - 1])] if limit else None
    figures.note("size of the events with their indexes", size / 1e9, "GB")
    rate = ingested(ingest, start, person, places)
    figures.note("from the write-ahead file into the table", rate, "events/s")
    with figures.timed("all hours and days summed afresh"):
        while usage_rollup_all():
            pass
    page(figures, person)
    if few:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("SET session_replication_role = replica")
            connection.execute(SQL_FEW, [few])
    with figures.timed("the ledger brought up to the sums"):
        lines_post_all()
    with figures.timed(f"the month of {len(few or places):,} organisations closed"):
        closed = periods_close_all()
    figures.note("months closed", closed, "months")
    with figures.timed("closing once more"):
        again = periods_close_all()
    with figures.timed("the nightly look at the books"):
        wrong = list(findings(few))
    if again or wrong:
        raise SystemExit(f"{again} months were closed twice; wrong in the books: {wrong[:3]}")
    connections.close_all()
    return figures


def seed(url: str, events: int, start: Any, *, hours: int, person: Any, places: list[Any]) -> None:
    """Last month's events, written by the database itself: without indexes and triggers, which come after."""
    import psycopg

    book, price = _price(start)

    def write(first: int) -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("SET session_replication_role = replica")
            connection.execute(
                SQL_EVENTS.format(
                    model=MODEL, version=book, per_token=price.input_token, per_request=price.request,
                    start=start.isoformat(), hours=hours, first=first, last=min(first + AT_ONCE - 1, events),
                    large=person.tenant.pk, project=person.project.pk, tenants=len(places),
                )
            )  # fmt: skip

    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute(SQL_INDEXES).fetchall()
        for without, _ in found:
            connection.execute(without)
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            list(threads.map(write, range(1, events + 1, AT_ONCE)))
        connection.execute("SET maintenance_work_mem = '1GB'")
        for _, again in found:
            connection.execute(again)
        connection.execute(SQL_DIRTY)
        connection.execute("VACUUM (ANALYZE)")


MODEL = "all-MiniLM-L6-v2"


def _price(start: Any) -> tuple[str, Any]:
    from billing.prices import price_books

    book = price_books().current(int(start.timestamp() * 1000), "usd")
    return book.version, book.price("classify", MODEL)


def ingested(count: int, start: Any, person: Any, places: list[Any]) -> float:
    """Events a second through the files of a gateway and its shipper, a fifth of them the large organisation's."""
    from billing.metering.events import UsageEvent, event_id
    from billing.metering.shipper import Shipper
    from billing.metering.sink import PostgresSink
    from billing.metering.spool import SpoolWriter
    from billing.services.gate import sink_dsn

    book, price = _price(start)
    base = int(start.timestamp() * 1000)
    with tempfile.TemporaryDirectory() as folder:
        writer = SpoolWriter(folder)
        for number in range(count):
            place = places[number * 7919 % len(places)] if number % 5 else (person.tenant.pk, person.project.pk)
            request = f"shipped_{uuid.uuid4().hex}"
            writer.append(
                UsageEvent(
                    event_id=event_id(place[0], request, "classify"), request_id=request, tenant_id=place[0],
                    project_id=place[1], key_id=None, model=MODEL, kind="classify", input_tokens=40, output_tokens=0,
                    requests=1, gpu_ms=0, price_version=book, cost_nano=40 * price.input_token + price.request,
                    occurred_at=base + number % 86_400_000,
                )
            )  # fmt: skip
        sink = PostgresSink(sink_dsn())
        shipper = Shipper(folder, sink, writer=writer)
        begun = time.perf_counter()
        shipped = shipper.ship()
        seconds = time.perf_counter() - begun
        sink.close()
    if shipped != count:
        raise SystemExit(f"{shipped} of {count} events arrived")
    return count / seconds


def page(figures: Figures, person: Any, asked: int = 40) -> None:
    """The usage page of the large organisation over three months."""
    address = f"{person.home}/usage/?days=90"
    times = []
    for _ in range(asked + 3):
        begun = time.perf_counter()
        answer = person.browser.get(address)
        times.append((time.perf_counter() - begun) * 1000)
        if answer.status_code != 200:
            raise SystemExit(f"{address} answered {answer.status_code}")
    cuts = statistics.quantiles(times[3:], n=20)
    figures.note("usage page of the large organisation, p50", cuts[9], "ms")
    figures.note("usage page of the large organisation, p95", cuts[18], "ms")


if __name__ == "__main__":
    sys.exit(main())
