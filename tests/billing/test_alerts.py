"""Each threshold of every spend limit is announced once a month, to those who can act on it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from django.core import mail
from django.db import connections
from django.test import override_settings

from billing.services.alerts import LISTED, budgets_alert
from billing.services.ledger import lines_post_all
from billing.services.limits import key_limits_set, key_make, member_limits_set, model_limits_set, project_limits_set
from billing.services.metering import usage_rollup
from kit.clock import now
from tenants.models import AuditEvent, Member
from tenants.scope import tenant_scope
from tests.billing.money import call, entitle, store_events
from tests.conftest import Cast, Person, make_person

CAP = 100_000
MODEL = "ft:all-MiniLM-L6-v2:o:s:1"


@pytest.fixture(autouse=True)
def outbox() -> Iterator[None]:
    with override_settings(EMAIL_BACKEND="django.core.mail.backends.locmem.EmailBackend"):
        mail.outbox = []
        yield


def spend(person: Person, number: int, cost: int, **where: object) -> None:
    """A call of the person's key, summed."""
    given = {"project_id": person.project.id, "key_id": person.key_row.id, "model": MODEL} | where
    store_events([call(person.tenant.id, number, cost=cost, at=now(), **given)])  # type: ignore[arg-type]
    usage_rollup(tenant_id=person.tenant.id)


def told() -> list[tuple[str, str]]:
    """Who got which subject, and forget it."""
    found = sorted((message.to[0], message.subject) for message in mail.outbox)
    mail.outbox = []
    return found


def limited(person: Person, scope: str, limits: dict[str, int]) -> None:
    """Give the scope that the person's calls count under a limit of its own."""
    with tenant_scope(person.tenant.id):
        if scope == "project":
            project_limits_set(project=person.project, limits=limits)
        elif scope == "member":
            member_limits_set(member=Member.objects.get(user=person.user), limits=limits)
        elif scope == "key":
            key_limits_set(key=person.key_row, name="theirs", limits=limits)
        else:
            model_limits_set(project=person.project, model=MODEL, limits=limits)


def test_thresholds_are_announced_once_and_in_order(cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    entitle(tenant_id, spend_nano=CAP)
    announced = []
    for number, cost in enumerate([40_000, 12_000, 0, 30_000, 17_500, 0]):
        if cost:
            spend(cast.owner, number, cost)
        announced.append(budgets_alert(tenant_id=tenant_id))
    assert announced == [0, 1, 0, 1, 1, 0]
    assert [message.to for message in mail.outbox] == [[cast.owner.user.email]] * 3, "developers are not told"
    assert [message.subject for message in mail.outbox] == [
        f"{percent} % of your monthly spend limit is used" for percent in (50, 80, 100)
    ]
    with tenant_scope(tenant_id):
        assert AuditEvent.objects.filter(action="budget.threshold").count() == 3


@pytest.mark.parametrize("scope", ["project", "member", "key", "model"])
def test_limits_of_every_scope_are_announced_to_those_who_can_act(cast: Cast, scope: str) -> None:
    ada, bob = cast.owner, cast.teammate
    carol = make_person("carol", beside=ada, role="billing")
    dan = make_person("dan", beside=ada, role="admin")
    entitle(ada.tenant.id, spend_nano=10**9)
    limited(bob, scope, {"monthly_spend_nano": CAP})
    spend(bob, 1, 40_000)
    other = {"project": ada.tenant.id, "model": bob.project.id}.get(scope, bob.project.id)
    spend(ada, 2, 60_000, project_id=other, model="another", key_id=ada.key_row.id)  # counts under another limit
    assert budgets_alert(tenant_id=ada.tenant.id) == 0
    spend(bob, 3, 45_000)
    assert budgets_alert(tenant_id=ada.tenant.id) == 1
    hears = {ada.user.email, dan.user.email} | ({bob.user.email} if scope in ("member", "key") else set())
    assert carol.user.email not in hears
    whose = {"key": "an API key's"}.get(scope, f"a {scope}'s")
    assert set(told()) == {(one, f"80 % of {whose} monthly spend limit is used") for one in hears}
    assert budgets_alert(tenant_id=ada.tenant.id) == 0
    spend(bob, 4, 15_000)
    lines_post_all()  # everybody's, whom other tests made
    assert {subject for to, subject in told() if to in hears | {carol.user.email}} == {
        f"100 % of {whose} monthly spend limit is used"
    }
    limited(bob, scope, {})
    spend(bob, 5, 500_000)
    assert budgets_alert(tenant_id=ada.tenant.id) == 0, "a limit that was lifted is none"


def test_a_member_who_left_hears_nothing(cast: Cast) -> None:
    ada, bob = cast.owner, cast.teammate
    entitle(ada.tenant.id, spend_nano=10**9)
    limited(bob, "member", {"monthly_spend_nano": CAP})
    spend(bob, 1, 60_000)
    with tenant_scope(ada.tenant.id):
        Member.objects.filter(user=bob.user).delete()
    budgets_alert(tenant_id=ada.tenant.id)
    assert [to for to, _ in told()] == [ada.user.email]


def test_many_limits_at_once_are_one_mail(cast: Cast) -> None:
    ada = cast.owner
    entitle(ada.tenant.id, spend_nano=10**9)
    with tenant_scope(ada.tenant.id):
        keys = [
            key_make(
                project=ada.project, name=f"k{place}\nx", scopes=["inference"], created_by=ada.user,
                limits={"monthly_spend_nano": CAP},
            )[0]
            for place in range(LISTED + 2)
        ]  # fmt: skip
    for place, key in enumerate(keys):
        spend(ada, place, 60_000, key_id=key.pk)
    assert budgets_alert(tenant_id=ada.tenant.id) == LISTED + 2
    (message,) = mail.outbox
    assert message.subject == f"{LISTED + 2} monthly spend limits are filling up"
    assert message.body.count("has used $0.00006") == LISTED and "2 more limits" in message.body


def test_two_ticks_at_once_tell_once(cast: Cast) -> None:
    ada = cast.owner
    entitle(ada.tenant.id, spend_nano=CAP)
    for scope in ("project", "member", "key", "model"):
        limited(ada, scope, {"monthly_spend_nano": CAP})
    spend(ada, 1, 55_000)
    start, announced = threading.Barrier(4), []

    def tick() -> None:
        start.wait(10)
        announced.append(budgets_alert(tenant_id=ada.tenant.id))
        connections.close_all()

    ticks = [threading.Thread(target=tick) for _ in range(4)]
    for one in ticks:
        one.start()
    for one in ticks:
        one.join(30)
    assert len(announced) == 4 and sum(announced) == 5
    with tenant_scope(ada.tenant.id):
        assert AuditEvent.objects.filter(action="budget.threshold").count() == 5


def test_another_organisations_usage_fills_no_limit_of_ours(cast: Cast) -> None:
    ada, eve = cast.owner, cast.stranger
    for person in (ada, eve):
        entitle(person.tenant.id, spend_nano=CAP)
    spend(eve, 1, 90_000)
    assert budgets_alert(tenant_id=ada.tenant.id) == 0
    lines_post_all()
    hears = [to for to, _ in told()]
    assert eve.user.email in hears and ada.user.email not in hears
