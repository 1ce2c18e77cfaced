"""Staff keep a deployment's model in an engine's memory, whatever others load, and let it go again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

from inference.client import BlockingClient
from ops.models import StaffAction
from registry.models import ModelVersion
from serving import pins, services
from serving.models import Deployment
from tenants.models import AuditEvent
from tenants.scope import tenant_scope
from tests.conftest import Cast, Person
from tests.serving.announced import Announced, engine_announced
from tests.serving.made import deployed, trained

pytestmark = pytest.mark.slow  # starts real processes

WHY = "their cold starts hurt, ticket 4711"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, django_db_setup: None) -> Iterator[Announced]:
    """Room for two whole encoders, and for one that is pinned."""
    folder = tmp_path_factory.mktemp("e")
    with engine_announced(folder, "a", "--resident-mib", "240", "--floor-mib", "0") as one:
        yield one


def live(person: Person, folder: Path) -> Deployment:
    row = deployed(person, trained(person, folder, "full")[0])
    assert row.state == "live", row.reason
    return row


def held(engine: Announced) -> dict[str, bool]:
    """Whether each model in memory is pinned."""
    return {one.model: one.pinned for one in engine.health().residents}


def test_a_pinned_model_stays_whatever_others_load_until_it_is_let_go(
    engine: Announced, ada: Person, cast: Cast, tmp_path: Path
) -> None:
    owner, stranger = cast.owner, cast.stranger
    row = live(owner, tmp_path / "a")
    model, where = row.version_id.hex, f"/staff/serving/deployment/{row.pk}"
    assert held(engine) == {model: False}
    assert ada.browser.post(f"{where}/pin/", {"reason": ""}).status_code == 422
    assert owner.browser.post(f"{where}/pin/", {"reason": WHY}).status_code in (302, 404), "staff alone may"
    assert held(engine) == {model: False}
    assert "Keep in memory" in ada.browser.get(f"{where}/change/").content.decode()
    assert ada.browser.post(f"{where}/pin/", {"reason": WHY}).status_code == 302
    assert held(engine) == {model: True}
    with tenant_scope(owner.tenant.id):
        event = AuditEvent.objects.get(action="deployment.pinned")
        assert (event.actor_kind, event.reason, event.after) == ("staff", WHY, {"pinned": True})
    assert StaffAction.objects.filter(action="deployment.pin", organisation=owner.tenant.id, reason=WHY).exists()
    assert "full · pinned" in ada.browser.get("/staff/fleet/").content.decode()

    first, second = (live(stranger, tmp_path / name) for name in "bc")
    assert held(engine) == {model: True, second.version_id.hex: False}, "the other one made room"

    page = ada.browser.post(f"/staff/serving/deployment/{second.pk}/pin/", {"reason": WHY}, follow=True)
    assert "take the half" in page.content.decode()
    assert held(engine) == {model: True, second.version_id.hex: False}, "it is served all the same"
    ada.browser.post(f"/staff/serving/deployment/{second.pk}/unpin/", {"reason": WHY})

    assert ada.browser.post(f"{where}/unpin/", {"reason": WHY}).status_code == 302
    assert held(engine)[model] is False
    with tenant_scope(stranger.tenant.id):
        services.deployment_stop(deployment=second)
    services.deployment_unload(tenant_id=stranger.tenant.id, version=second.version_id.hex)
    stopped = ada.browser.post(f"/staff/serving/deployment/{second.pk}/pin/", {"reason": WHY})
    assert stopped.status_code == 422 and "only what is live" in stopped.content.decode()
    with tenant_scope(owner.tenant.id):
        services.deployment_stop(deployment=row)
    services.deployment_unload(tenant_id=owner.tenant.id, version=model)
    with tenant_scope(stranger.tenant.id):
        services.deployment_stop(deployment=first)


def test_an_engine_that_started_again_or_missed_a_change_is_brought_in_line(
    engine: Announced, ada: Person, cast: Cast, tmp_path: Path
) -> None:
    owner = cast.owner
    row = live(owner, tmp_path / "a")
    model, tenant = row.version_id.hex, owner.tenant.id.hex
    ada.browser.post(f"/staff/serving/deployment/{row.pk}/pin/", {"reason": WHY})
    with BlockingClient(engine.address, settings.ENGINE_TOKEN) as client:
        client.unload(tenant=tenant, model=model)
    assert model not in held(engine)
    assert pins.pins_settle() >= 1 and held(engine)[model] is True
    with tenant_scope(owner.tenant.id):
        ModelVersion.objects.filter(pk=row.version_id).update(pinned=False)  # as if the engine had not been told
    pins.pins_settle()
    assert model not in held(engine)
    with tenant_scope(owner.tenant.id):
        ModelVersion.objects.filter(pk=row.version_id).update(pinned=True)
        services.deployment_stop(deployment=row)
        assert not ModelVersion.objects.get(pk=row.version_id).pinned, "stopping ends it"
    pins.pins_settle()
    assert model not in held(engine)
