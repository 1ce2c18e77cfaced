"""Engines of a deployment's own: taken from those that wait warm, let go when nobody calls, back with the next call."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import connections

from billing.models import UsageEvent
from billing.services.entitlements import override_set
from config.keeper import LocalEngines
from serving import engines, services
from serving import pools as serving_pools
from serving.errors import DedicatedFull, DedicatedNotOffered
from serving.metering import engines_meter
from serving.models import Dedicated, Deployment
from serving.pools import Wish, check_room, scale
from tenants.scope import ops_scope, tenant_scope
from tests.conftest import Cast
from tests.gateway.conftest import ROOT
from tests.gateway.test_replicas import gateway_alone
from tests.serving.announced import announced, until
from tests.serving.made import trained

pytestmark = pytest.mark.slow  # starts real processes


@pytest.fixture(autouse=True)
def _room(cast: Cast) -> None:
    """Everybody's plan has engines of their own, and no other test's deployment holds any."""
    with ops_scope("begin with none promised"):
        Deployment.ops.filter(dedicated__isnull=False).update(state=Deployment.State.STOPPED)
    for person in (cast.owner, cast.stranger):
        with tenant_scope(person.tenant.id):
            override_set(limits={"own_engines": 100}, reason="tests", created_by="tests")


@contextlib.contextmanager
def keeper(**environment: str) -> Iterator[None]:
    """`manage.py engines` on this run's database and Redis."""
    environment = os.environ | {
        "PYTHONPATH": f"{ROOT}:{ROOT / 'platform'}",
        "TUNESMITH_HOME": str(django_settings.HOME),
        "ENGINE_TOKEN": django_settings.ENGINE_TOKEN,
        **environment,
    }
    process = subprocess.Popen([sys.executable, "manage.py", "engines"], cwd=ROOT, env=environment)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def pools() -> list[str]:
    return sorted(beat.pool for beat in announced() if not beat.draining)


@pytest.mark.chaos
def test_a_dedicated_deployment_has_an_engine_while_it_is_called_and_none_when_it_is_not(
    cast: Cast, tmp_path: Path, settings: Any
) -> None:
    settings.DEDICATED_REPLICAS = 2
    version, _ = trained(cast.owner, tmp_path / "artefact")
    tenant, project = cast.owner.tenant.id, cast.owner.project
    with keeper(DEDICATED_REPLICAS="2", WARM_REPLICAS="1"), gateway_alone() as door:
        until(lambda: pools() == ["warm"], 120)
        waiting = announced()[0].name
        with tenant_scope(tenant):
            row = services.deployment_create(project=project, model=version.model.name, dedicated=Wish(idle_seconds=60))
            pool = row.dedicated.pool

        def live() -> bool:
            return services.deployment_load(tenant_id=tenant, deployment_id=row.id) == Deployment.State.LIVE

        until(live, 60)
        assert [beat.name for beat in announced() if beat.pool == pool] == [waiting], "it took who waited"
        body = json.dumps({"model": version.model.name, "input": "where is my parcel"}).encode()
        until(lambda: door.post("/v1/classify", body, cast.owner.key)[0] == 200)
        _, headers, _ = door.post("/v1/classify", body, cast.owner.key)
        assert headers["x-model-state"] == "hot"
        engines_meter()
        time.sleep(3)
        engines_meter()
        with tenant_scope(tenant):
            own = Dedicated.objects.get(deployment=row)
        assert own.ready == 1 and own.cold_start_ms is not None and own.cold_start_ms < 30_000
        assert 2 <= own.open_seconds + metered(tenant) <= time.time() - row.created_at.timestamp()
        until(lambda: pools() == sorted([pool, "warm"]), 120)  # another one waits now
        with ops_scope("nobody calls for a while"):
            Dedicated.ops.filter(deployment=row).update(idle_seconds=1)
        until(lambda: pools() == ["warm"], 30)
        with ops_scope("as it was"):
            Dedicated.ops.filter(deployment=row).update(idle_seconds=60)
        started = time.monotonic()
        status, headers, answer = door.post("/v1/classify", body, cast.owner.key)
        took = (time.monotonic() - started) * 1000
        assert status == 200, answer
        told = re.fullmatch(r"loaded; ms=(\d+)", headers["x-model-state"])
        assert told and took / 2 < int(told[1]) <= took, "the wait is told as it was"
        with tenant_scope(tenant):
            services.deployment_stop(deployment=row)
        until(lambda: pool not in pools(), 30)
        assert door.post("/v1/classify", body, cast.owner.key)[0] == 404


def metered(tenant: uuid.UUID) -> int:
    """Engine-seconds that were charged."""
    with tenant_scope(tenant):
        return sum(event.gpu_ms for event in UsageEvent.objects.filter(kind="dedicated")) // 1000


def test_calls_of_a_deployment_whose_engines_a_spend_limit_stopped_are_refused_as_over_it(
    cast: Cast, tmp_path: Path, settings: Any
) -> None:
    settings.DEDICATED_REPLICAS = 10_000
    version, _ = trained(cast.owner, tmp_path / "artefact")
    with tenant_scope(cast.owner.tenant.id):
        made = services.deployment_create(
            project=cast.owner.project, model=version.model.name, dedicated=Wish(replicas_min=1)
        )
        Deployment.objects.filter(pk=made.pk).update(state=Deployment.State.LIVE, live_at=made.created_at)
        Dedicated.objects.filter(deployment=made).update(halted="spend_limit")
    body = json.dumps({"model": version.model.name, "input": "where is my parcel"}).encode()
    with gateway_alone() as door:
        started = time.monotonic()
        status, headers, answer = door.post("/v1/classify", body, cast.owner.key)
    assert (status, headers["x-should-retry"]) == (402, "false") and time.monotonic() - started < 10
    error = json.loads(answer)["error"]
    assert (error["type"], error["code"]) == ("insufficient_quota", "budget_exceeded")
    assert "engines of this deployment's own were stopped" in error["message"]


def test_each_engine_keeps_what_it_fetched_by_itself_and_no_longer_than_it_lives(
    settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.HOME = tmp_path

    def command(address: str, *, depot: str, pool: str) -> list[str]:
        return ["mkdir", "-p", str(tmp_path / depot / "files")]

    monkeypatch.setattr("config.keeper.engine_command", command)
    children = LocalEngines()
    for _ in range(2):
        children.start("warm")
    for child in children.children.values():
        assert child.process.wait(10) == 0
    folders = {child.depot for child in children.children.values()}
    assert len(folders) == 2 and all((folder / "files").is_dir() for folder in folders)
    children.close()
    assert not any(folder.exists() for folder in folders) and not children.children


def test_engines_of_ones_own_are_refused_where_none_are_offered_or_free(
    cast: Cast, tmp_path: Path, settings: Any
) -> None:
    version, _ = trained(cast.owner, tmp_path / "artefact")
    owner = cast.owner
    with tenant_scope(owner.tenant.id):
        settings.DEDICATED_REPLICAS = 0
        with pytest.raises(DedicatedNotOffered, match="offers no engines of your own"):
            services.deployment_create(project=owner.project, model=version.model.name, dedicated=Wish())
        settings.DEDICATED_REPLICAS = 2
        with pytest.raises(DedicatedFull, match="3 engines of your own are more than the 2 that are free"):
            services.deployment_create(project=owner.project, model=version.model.name, dedicated=Wish(replicas_max=3))
        settings.DEDICATED_REPLICAS, settings.DEDICATED_REPLICAS_PER_TENANT = 20, 2
        with pytest.raises(DedicatedFull, match="An organization may have 2 engines of its own here; 0 are promised"):
            services.deployment_create(project=owner.project, model=version.model.name, dedicated=Wish(replicas_max=3))


def test_two_who_ask_for_the_last_engines_take_turns(cast: Cast, settings: Any) -> None:
    settings.DEDICATED_REPLICAS = 1
    passed, stranger = threading.Event(), cast.stranger

    def other() -> None:
        with tenant_scope(stranger.tenant.id):
            check_room(Wish())
            passed.set()
        connections.close_all()

    thread = threading.Thread(target=other)
    with tenant_scope(cast.owner.tenant.id):
        check_room(Wish())
        thread.start()
        assert not passed.wait(0.5), "it counts only when this one has promised what it wants, or gone"
    assert passed.wait(10)
    thread.join(10)


def test_nothing_is_concluded_from_the_silence_of_an_emptied_redis(
    cast: Cast, tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DEDICATED_REPLICAS = 4
    version, _ = trained(cast.owner, tmp_path / "artefact")
    with tenant_scope(cast.owner.tenant.id):
        made = services.deployment_create(
            project=cast.owner.project, model=version.model.name, dedicated=Wish(replicas_max=3)
        )
        Deployment.objects.filter(pk=made.pk).update(state=Deployment.State.LIVE)
        Dedicated.objects.filter(deployment=made).update(wanted=2)

    def row() -> Dedicated:
        with tenant_scope(cast.owner.tenant.id):
            return Dedicated.objects.get(deployment=made)

    monkeypatch.setattr(engines, "announced", list)
    for _ in range(2):
        scale()
    assert row().wanted == 2
    monkeypatch.setattr(serving_pools, "SILENT_SECONDS", -1.0)  # it has lasted
    scale()
    assert (row().wanted, row().scaling) == (0, {})
