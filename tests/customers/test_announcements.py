"""Announcements: shown to whom they are for, from when until when, until each member has dismissed them."""

import datetime as dt
from typing import Any

import pytest
from django.db import connection
from django.db.utils import ProgrammingError

from billing.services.entitlements import plan_grant
from customers.models import Announcement
from customers.services.announcements import announcement_make
from customers.services.notes import tag_add, tag_remove
from kit.clock import now
from kit.errors import BadRequest
from tenants.models import Tenant
from tenants.scope import ops_scope, tenant_scope
from tests.conftest import Person, make_person
from tests.ops.conftest import inside, make_staff

PAGE = "/staff/announcements/"
DAY = dt.timedelta(days=1)


@pytest.fixture(scope="module")
def carer() -> Person:
    return inside(make_staff("carer"))


@pytest.fixture(autouse=True)
def alone() -> Any:
    """Announcements of other tests are over."""
    for step in ("before", "after"):
        with ops_scope("test"):
            Announcement.ops.update(withdrawn_at=now())
        if step == "before":
            yield


def announced(**fields: Any) -> Announcement:
    with ops_scope("test"):
        return announcement_make(**{"title": "A new base", "by": "t", **fields})


def sees(person: Person, words: str = "A new base") -> bool:
    return words in person.browser.get(f"{person.workspace}/jobs/").content.decode()


def test_it_is_announced_on_the_page_stands_above_every_page_and_is_withdrawn(carer: Person) -> None:
    ada = make_person("ada")
    fields = {"title": "A new base", "text": "It reads <b>more</b>.", "link": "/docs/training"}
    assert carer.browser.post(PAGE, fields).status_code == 302
    page = ada.browser.get(f"{ada.home}/support/").content.decode()
    assert "It reads &lt;b&gt;more&lt;/b&gt;." in page and 'href="/docs/training"' in page
    with ops_scope("test"):
        row = Announcement.ops.get(withdrawn_at=None)
    assert "Shown" in carer.browser.get(PAGE).content.decode()
    for _ in range(2):
        assert carer.browser.post(PAGE, {"do": "withdraw", "id": str(row.pk)}).status_code == 302
    assert not sees(ada) and "Withdrawn" in carer.browser.get(PAGE).content.decode()


def test_it_is_shown_between_its_moments_only() -> None:
    ada = make_person("ada")
    announced(title="To come", starts_at=now() + DAY)
    over = announced(title="Was here", ends_at=now() + DAY)
    announced(title="Is here", starts_at=now() - DAY, ends_at=now() + DAY)
    with ops_scope("test"):
        Announcement.ops.filter(pk=over.pk).update(ends_at=now() - DAY)
    page = ada.browser.get(f"{ada.workspace}/").content.decode()
    assert ["To come" in page, "Was here" in page, "Is here" in page] == [False, False, True]


def test_it_is_for_customers_of_its_plans_with_any_of_its_tags() -> None:
    ada, eve = make_person("ada"), make_person("eve")
    with tenant_scope(ada.tenant.pk):
        plan_grant(plan="team", reason="tests", created_by="tests")
    announced(plans=["team", "enterprise"])
    assert sees(ada) and not sees(eve)
    announced(title="For the free", plans=["free"], tags=["pilot", "beta"])
    assert not sees(eve, "For the free")
    with ops_scope("test"):
        for person in (ada, eve):
            tag_add(tenant_id=person.tenant.pk, name="beta", by="t")
    assert sees(eve, "For the free") and not sees(ada, "For the free")
    with ops_scope("test"):
        tag_remove(tenant_id=eve.tenant.pk, name="beta", by="t")
    assert not sees(eve, "For the free")


def test_a_member_dismisses_it_for_themselves_in_every_organisation_and_twice_is_the_same() -> None:
    ada = make_person("ada")
    bob = make_person("bob", beside=ada)
    row = announced()
    place = f"{ada.home}/news/{row.pk}/dismiss"
    answer = ada.browser.post(place, {"next": f"{ada.workspace}/jobs/"})
    assert answer.headers["Location"] == f"{ada.workspace}/jobs/"
    assert not sees(ada) and sees(bob)
    assert ada.browser.post(place).status_code == 404
    second = ada.browser.post("/o/new", {"name": "Second", "currency": "usd"}, follow=True)
    assert second.status_code == 200 and "A new base" not in second.content.decode()


@pytest.mark.parametrize("wanted", ["https://evil.example/", "//evil.example", "/\\evil.example", "\n/x", ""])
def test_dismissing_leads_nowhere_else(wanted: str) -> None:
    ada = make_person("ada")
    answer = ada.browser.post(f"{ada.home}/news/{announced().pk}/dismiss", {"next": wanted})
    assert answer.headers["Location"] == f"{ada.workspace}/"


def test_what_is_not_announced_to_somebody_cannot_be_dismissed_or_read_by_them() -> None:
    ada = make_person("ada")
    row = announced(tags=["secret-pilot"])
    assert ada.browser.post(f"{ada.home}/news/{row.pk}/dismiss").status_code == 404
    with tenant_scope(ada.tenant.pk), connection.cursor() as cursor:
        cursor.execute("SELECT * FROM door_announcements(%s)", [ada.user.pk])
        assert cursor.fetchall() == []
    announced()
    with connection.cursor() as cursor:  # outside a tenant's scope it tells nothing
        cursor.execute("SELECT * FROM door_announcements(%s)", [ada.user.pk])
        assert cursor.fetchall() == []
    with (
        pytest.raises(ProgrammingError, match="permission denied"),
        tenant_scope(ada.tenant.pk),
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT tags FROM customers_announcement")


def test_staff_on_a_visit_see_it_and_cannot_dismiss_it(carer: Person) -> None:
    ada = make_person("ada")
    row = announced()
    carer.browser.post(f"/staff/tenants/tenant/{ada.tenant.pk}/view/", {"reason": "asked for in ticket 4711"})
    page = carer.browser.get(f"{ada.workspace}/jobs/").content.decode()
    assert "A new base" in page and "/dismiss" not in page
    assert carer.browser.post(f"{ada.home}/news/{row.pk}/dismiss").status_code == 403


def test_a_suspended_organisation_sees_no_button_that_does_not_work() -> None:
    ada = make_person("ada")
    announced()
    with ops_scope("test"):
        Tenant.ops.filter(pk=ada.tenant.pk).update(status=Tenant.Status.SUSPENDED)
    page = ada.browser.get(f"{ada.workspace}/jobs/").content.decode()
    assert "A new base" in page and "/dismiss" not in page


@pytest.mark.parametrize(
    "fields",
    [
        {"title": ""},
        {"title": "x" * 121},
        {"title": "\u200b"},
        {"text": "x" * 1001},
        {"link": "javascript:alert(1)"},
        {"link": "//evil.example"},
        {"link": "http://plain.example"},
        {"link": "https://[x"},
        {"link": "/a b"},
        {"plans": "none"},
        {"tags": "none"},
        {"starts_at": "soon"},
        {"ends_at": "2020-01-01T00:00"},
        {"starts_at": "2030-01-02T00:00", "ends_at": "2030-01-01T00:00"},
        {"ends_at": "9999-12-31T23:59"},
    ],
)
def test_what_cannot_be_announced_is_refused_on_the_page(carer: Person, fields: dict[str, str]) -> None:
    with ops_scope("test"):
        tag_add(tenant_id=make_person("ada").tenant.pk, name="known", by="t")
        before = Announcement.ops.count()
    answer = carer.browser.post(PAGE, {"title": "A new base", **fields})
    assert answer.status_code == 422 and "There is a problem" in answer.content.decode()
    with ops_scope("test"):
        assert Announcement.ops.count() == before


def test_a_withdrawal_of_nothing_is_a_404_and_a_wrong_plan_a_400(carer: Person) -> None:
    assert carer.browser.post(PAGE, {"do": "withdraw", "id": "none"}).status_code == 404
    with ops_scope("test"), pytest.raises(BadRequest):
        announcement_make(title="a", plans=["none"], by="t")
