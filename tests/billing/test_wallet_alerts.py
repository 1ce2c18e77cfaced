"""Thresholds of credit are announced once for each credit that came; those of every budget to webhooks too."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from django.core import mail
from django.db import connections
from django.test import override_settings

from billing.services.alerts import budgets_alert
from billing.services.ledger import lines_post
from hooks.models import Delivery, Event
from hooks.services import endpoint_create
from tenants.scope import tenant_scope
from tests.billing.money import entitle
from tests.billing.test_alerts import limited, spend
from tests.billing.test_credits import give
from tests.conftest import Cast, Person, make_person

THRESHOLD = "tunesmith.budget.threshold"


@pytest.fixture(autouse=True)
def outbox() -> Iterator[None]:
    with override_settings(EMAIL_BACKEND="django.core.mail.backends.locmem.EmailBackend"):
        mail.outbox = []
        yield


def used(person: Person, number: int, nano: int) -> int:
    """So much more is used and posted; how many limits were announced."""
    spend(person, number, nano)
    lines_post(tenant_id=person.tenant.id)
    return budgets_alert(tenant_id=person.tenant.id)


def heard(person: Person) -> list[tuple[str, str]]:
    with tenant_scope(person.tenant.id):
        events = Event.objects.filter(type=THRESHOLD).order_by("pk")
        return [(event.data["scope"], event.data["percent"]) for event in events]


def listen(person: Person) -> None:
    with tenant_scope(person.tenant.id):
        endpoint_create(
            project=person.project, name="money", url="https://hooks.example.com/x", event_types=[THRESHOLD]
        )  # fmt: skip


def test_credit_is_announced_at_each_threshold_once_and_anew_when_more_comes(cast: Cast) -> None:
    ada = cast.owner
    entitle(ada.tenant.id, spend_nano=10**12)
    clerk = make_person("bill", beside=ada, role="billing")
    listen(ada)
    give(ada.tenant.id, "promo", 40_000)
    give(ada.tenant.id, "prepaid", 60_000)
    steps = [(1, 40_000), (2, 12_000), (3, 20), (4, 30_000), (5, 17_500)]
    assert [used(ada, number, nano) for number, nano in steps] == [0, 1, 0, 1, 1]
    to = sorted({message.to[0] for message in mail.outbox})
    assert to == sorted([ada.user.email, clerk.user.email]), "those who can buy more"
    assert {message.subject for message in mail.outbox} == {f"{n} % of your credit is used" for n in (50, 80, 100)}
    assert "credit of $0.0001" in mail.outbox[0].body and "/billing/wallet" in mail.outbox[0].body
    assert heard(ada) == [("wallet", "50"), ("wallet", "80"), ("wallet", "100")]
    give(ada.tenant.id, "prepaid", 100_000)
    assert used(ada, 6, 20_000) == 0
    assert used(ada, 7, 40_000) == 1


def test_two_ticks_at_once_announce_once(cast: Cast) -> None:
    ada, failed = cast.owner, []
    entitle(ada.tenant.id, spend_nano=10**12)
    listen(ada)
    give(ada.tenant.id, "prepaid", 100_000)
    spend(ada, 1, 60_000)
    lines_post(tenant_id=ada.tenant.id)

    def tick() -> None:
        try:
            budgets_alert(tenant_id=ada.tenant.id)
        except BaseException as error:
            failed.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=tick) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert failed == [] and heard(ada) == [("wallet", "50")]
    with tenant_scope(ada.tenant.id):
        assert Delivery.objects.count() == 1


@pytest.mark.parametrize(
    ("scope", "word"), [("project", "project"), ("member", "member"), ("key", "api_key"), ("model", "model")]
)
def test_limits_of_every_scope_are_told_to_endpoints(cast: Cast, scope: str, word: str) -> None:
    ada = cast.owner
    entitle(ada.tenant.id, spend_nano=10**12)
    listen(ada)
    limited(ada, scope, {"monthly_spend_nano": 100_000})
    assert used(ada, 1, 60_000) == 1 and used(ada, 2, 20) == 0
    assert heard(ada) == [(word, "50")]


def test_who_did_not_ask_hears_nothing(cast: Cast) -> None:
    ada = cast.owner
    entitle(ada.tenant.id, spend_nano=100_000)
    used(ada, 1, 60_000)
    assert heard(ada) == []
