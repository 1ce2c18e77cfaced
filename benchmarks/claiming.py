"""Claims per second with a long queue: 1,000 tenants, 50,000 waiting jobs, and however many have ended.

    python benchmarks/claiming.py [--tenants 1000] [--jobs 50000] [--ended 0 200000] [--claims 300] [--claimers 1]

Starts a durable PostgreSQL and a Redis of its own in a temporary home. Prints, for each number of ended jobs, claims
per second, one after another or by several threads at once (their decisions take turns), p50 and p99 in ms, what
reading the whole queue costs (for positions), and what a round of making room costs. The cost must not grow with what
has ended.

On two quiet cores, 100,000 ended jobs: 81 claims in a row per second, p50 11.9 ms, p99 20 ms. With neighbours 69 per
second, 12.9 and 32 ms, and the version that read and wrote through the ORM, right after: 38, 25.6 and 46 ms. Three
claimers at once made 61 instead of 36: one decides at a time, and holds the lock for about 12 ms, where it was 27.
On two faster cores, with neighbours: 164 to 235 claims per second, p50 4 to 5.3 ms, p99 7 to 15 ms.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_HERE = str(ROOT / "benchmarks")
sys.path[:] = [str(ROOT / "platform"), str(ROOT), *(path for path in sys.path if path != _HERE)]
HOST, PLACES = "benchmark", 8
SQL_TENANTS = """
INSERT INTO tenants_tenant (id, name, slug, status, created_at)
SELECT gen_random_uuid(), 'T' || n, 't-' || n, 'active', now() FROM generate_series(1, %s) n;
INSERT INTO tenants_project (id, tenant_id, name, slug, created_at)
SELECT gen_random_uuid(), id, 'Default', 'default', now() FROM tenants_tenant;
INSERT INTO training_tenantshare (id, tenant_id, max_running, guaranteed, gpu_class, weight, usage_ms, recent_ms,
  recent_at, last_started_at)
SELECT gen_random_uuid(), id, 4, 0, 'cpu', 1, 0, random() * 1e7, now(), now() - random() * interval '1 day'
FROM tenants_tenant
"""
SQL_JOBS = """
INSERT INTO training_job (id, tenant_id, project_id, task, base, method, suffix, seed, hyperparameters, columns, deploy,
  created_by, created_at, spec, spec_sha256, estimate, ceiling_nano, max_runtime_seconds, state, queued_at, finished_at,
  phase, step, total_steps, progress, trained_tokens, event_seq, attempt, lease_owner, platform_retries, crash_step,
  crash_count, checkpoint_step, model_name, price_nano, price_version, error_code, error_message, error_param,
  likely_seconds)
SELECT gen_random_uuid(), tenant_id, id, 'text-classification', 'b', 'lora', '', 1, '{{}}', '{{}}', false, '', now(),
  '{{}}', '', '{{}}', 0, 86400, '{state}', now() - random() * interval '1 day', {ended}, '', 0, 0, 0, 0, 0, 0, '', 0,
  -1, 0, -1, '', 0, '', '', '', '', 60 + random() * 3000
FROM tenants_project, generate_series(1, %s)
"""


def main() -> None:
    """Measure and print."""
    arguments = _arguments()
    home = Path(tempfile.mkdtemp(prefix="claiming-"))
    os.environ |= {"TUNESMITH_HOME": str(home), "DJANGO_SETTINGS_MODULE": "config.settings", "LOG_LEVEL": "ERROR"}
    from config import embedded
    from config.engines import Postgres, Redis, make_roles

    postgres, redis = Postgres(home), Redis(home)
    postgres.start()
    redis.start()
    try:
        import django

        django.setup()
        from django.core.management import call_command

        make_roles(embedded.superuser_url(home), embedded.DATABASE)
        call_command("migrate", database="owner", verbosity=0)
        _measure(arguments, embedded.superuser_url(home, embedded.DATABASE))
    finally:
        redis.stop()
        postgres.stop()
        shutil.rmtree(home, ignore_errors=True)


def _measure(arguments: argparse.Namespace, url: str) -> None:
    import psycopg

    from tenants.scope import ops_scope
    from training.selectors.picture import picture_read
    from training.services.claiming import room_make, slots_keep

    with psycopg.connect(url, autocommit=True) as connection:
        for statement in SQL_TENANTS.split(";"):
            connection.execute(statement, [arguments.tenants] if "%s" in statement else None)
        queued = SQL_JOBS.format(state="queued", ended="NULL")
        connection.execute(queued, [arguments.jobs // arguments.tenants])
        before = 0
        for ended in arguments.ended:
            more = (ended - before) // arguments.tenants
            connection.execute(SQL_JOBS.format(state="succeeded", ended="now()"), [more])
            before = ended
            connection.execute("VACUUM ANALYZE")
            hosts = [f"{HOST}-{number}" for number in range(-(-arguments.claims // PLACES))]
            for host in hosts:
                slots_keep(host=host, count=PLACES, kind="cpu", gpu_class="cpu")
            with ops_scope("measure"):
                figures: dict[str, float] = {"ended_jobs": ended, "lines": len(picture_read().heads)}
                figures["read_all_ms"] = _median(picture_read)
            connection.execute("UPDATE training_tenantshare SET read_at = now()")  # as the tick keeps it
            begun = time.perf_counter()
            times = _claims(hosts, arguments.claims, arguments.claimers)
            figures |= {
                "claims_per_second": round(len(times) / (time.perf_counter() - begun), 1),
                "p50_ms": round(statistics.median(times), 2),
                "p99_ms": round(statistics.quantiles(times, n=100)[98], 2),
                "room_ms": _median(room_make),
            }
            print(json.dumps(figures), flush=True)
            connection.execute("UPDATE training_slot SET job_id = NULL")
            connection.execute(
                "UPDATE training_job SET state = 'queued', lease_token = NULL, lease_expires_at = NULL "
                "WHERE state = 'leased'"
            )
            connection.execute("DELETE FROM training_attempt")


def _claims(hosts: list[str], claims: int, claimers: int) -> list[float]:
    """How long each claim took, in ms."""
    from django.db import connections

    from training.services.claiming import claim

    def one(number: int) -> float:
        begun = time.perf_counter()
        if claim(host=hosts[number // PLACES], worker=f"{HOST}/1/{number}") is None:
            raise SystemExit("nothing could be claimed")
        return 1000 * (time.perf_counter() - begun)

    if claimers == 1:
        return [one(number) for number in range(claims)]
    with ThreadPoolExecutor(claimers) as pool:
        times = list(pool.map(one, range(claims)))
        list(pool.map(lambda _: connections.close_all(), range(claimers)))
    return times


def _median(what: Callable[[], object], times: int = 15) -> float:
    found = []
    for _ in range(times):
        begun = time.perf_counter()
        what()
        found.append(1000 * (time.perf_counter() - begun))
    return round(statistics.median(found), 2)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tenants", type=int, default=1_000)
    parser.add_argument("--jobs", type=int, default=50_000)
    parser.add_argument("--ended", type=int, nargs="+", default=[0, 100_000])
    parser.add_argument("--claims", type=int, default=300)
    parser.add_argument("--claimers", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
