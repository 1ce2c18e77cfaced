"""Engines of a deployment's own: taken from those that wait warm, let go when nobody calls, back with the next call."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings

from serving import services
from serving.errors import DedicatedFull, DedicatedNotOffered
from serving.models import Dedicated, Deployment
from serving.pools import Wish
from tenants.scope import ops_scope, tenant_scope
from tests.conftest import Cast
from tests.gateway.conftest import ROOT
from tests.gateway.test_replicas import gateway_alone
from tests.serving.announced import announced, until
from tests.serving.made import trained

pytestmark = pytest.mark.slow  # starts real processes


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
