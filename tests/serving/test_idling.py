"""The idle rule: what is done about deployments that nobody calls."""

from __future__ import annotations

import datetime as dt

import pytest
from django.core import mail

from hooks.models import Event
from kit.clock import now
from serving.idling import deployments_idle
from serving.models import Deployment, DeploymentEvent
from tenants.scope import tenant_scope
from tests.conftest import Person, make_person
from tests.serving.rolling import ALIAS, begun, live, logged


@pytest.fixture
def ada() -> Person:
    return make_person("ada")


def aged(person: Person, deployment: Deployment, days: float) -> None:
    with tenant_scope(person.tenant.id):
        Deployment.objects.filter(pk=deployment.pk).update(live_at=now() - dt.timedelta(days=days))


def rule(person: Person, action: str, days: int) -> int:
    path = f"{person.workspace}/deployments/idle"
    return int(person.browser.post(path, {"action": action, "days": days}).status_code)


def test_what_nobody_calls_is_told_of_once_or_stopped_as_the_project_wants(ada: Person) -> None:
    called, idle = live(ada, ALIAS), live(ada)
    for row in (called, idle):
        aged(ada, row, 10)
    logged(ada, called, at=now() - dt.timedelta(days=1))
    deployments_idle()
    with tenant_scope(ada.tenant.id):
        assert Deployment.objects.get(pk=called.pk).last_called_at is not None
        assert not Event.objects.exists(), "without a rule nothing happens"
    assert rule(ada, "warn", 7) == 302
    mail.outbox.clear()
    for _ in range(2):
        deployments_idle()
    with tenant_scope(ada.tenant.id):
        assert [event.data for event in Event.objects.all()] == [{"id": idle.public_id}]
        assert Deployment.objects.get(pk=idle.pk).state == "live"
        said = DeploymentEvent.objects.filter(deployment=idle).latest("pk").message
    assert said == "Nobody has called it for 7 days."
    assert [one for one in mail.outbox if "for 7 days" in one.subject]
    aged(ada, idle, 20)
    with tenant_scope(ada.tenant.id):
        Deployment.objects.filter(pk=idle.pk).update(idle_told_at=None)
    rule(ada, "stop", 14)
    deployments_idle()
    with tenant_scope(ada.tenant.id):
        stopped = Deployment.objects.get(pk=idle.pk)
        assert (stopped.state, stopped.reason) == ("stopped", "Nobody has called it for 14 days.")
        assert Deployment.objects.get(pk=called.pk).state == "live"
    again = ada.browser.post(f"{ada.workspace}/deployments/{idle.public_id}/again")
    assert again.status_code == 302
    with tenant_scope(ada.tenant.id):
        assert Deployment.objects.filter(version_id=idle.version_id, state="loading").count() == 1


def test_a_rollouts_candidate_is_not_stopped_for_being_idle(ada: Person) -> None:
    stable, candidate = live(ada, ALIAS), live(ada)
    begun(ada, candidate, share=0)
    rule(ada, "stop", 1)
    for row in (stable, candidate):
        aged(ada, row, 3)
    deployments_idle()
    with tenant_scope(ada.tenant.id):
        assert Deployment.objects.filter(state="live").count() == 2


def test_calls_during_a_long_outage_keep_a_deployment(ada: Person) -> None:
    row = live(ada, ALIAS)
    aged(ada, row, 30)
    rule(ada, "stop", 7)
    with tenant_scope(ada.tenant.id):
        Deployment.objects.filter(pk=row.pk).update(last_called_at=now() - dt.timedelta(days=10))
    logged(ada, row, at=now() - dt.timedelta(hours=3))
    deployments_idle()
    with tenant_scope(ada.tenant.id):
        found = Deployment.objects.get(pk=row.pk)
        assert found.state == "live"
        assert found.last_called_at is not None and now() - found.last_called_at < dt.timedelta(hours=4)
