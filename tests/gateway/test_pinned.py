"""A call that brings a pinned model in tells the engine to keep it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from django.conf import settings

from inference.client import BlockingClient
from serving import pins, services
from tenants.scope import tenant_scope
from tests.conftest import Cast
from tests.gateway.conftest import GatewayProcess
from tests.serving.made import deployed, trained

pytestmark = pytest.mark.slow  # real processes


def test_a_call_brings_a_pinned_model_in_for_good(gateway: GatewayProcess, cast: Cast, tmp_path: Path) -> None:
    owner = cast.owner
    version, _ = trained(owner, tmp_path / "a")
    row = deployed(owner, version)
    with tenant_scope(owner.tenant.id):
        pins.deployment_pin_set(deployment_id=row.pk, pinned=True, reason="")
    tenant = owner.tenant.id.hex
    with BlockingClient(settings.ENGINE_ADDRESS, settings.ENGINE_TOKEN) as engine:
        engine.unload(tenant=tenant, model=version.id.hex)
        body = json.dumps({"model": version.model.name, "input": "where is my parcel"}).encode()
        status, headers, _ = gateway.post("/v1/classify", body, owner.key)
        assert status == 200 and headers["x-model-state"].startswith("loaded")
        assert engine.describe(tenant=tenant, model=version.id.hex).pinned
        engine.unload(tenant=tenant, model=version.id.hex)
    with tenant_scope(owner.tenant.id):
        services.deployment_stop(deployment=row)  # nobody else's engines are to keep it
