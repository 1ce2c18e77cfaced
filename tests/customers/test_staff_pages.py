"""Customers in the staff console: found, filtered, looked at, noted, in as many queries for one as for many."""

import datetime as dt
from typing import Any
from uuid import uuid4

import pytest
from django.db import connections
from django.test import Client
from django.test.utils import CaptureQueriesContext

from billing.models import UsageHour
from billing.services.entitlements import plan_grant
from customers.models import HealthScore, Note, Tag
from customers.services.fares import health_compute
from customers.services.notes import tag_add
from kit.clock import now
from tenants.models import Tenant
from tenants.scope import ops_scope, tenant_scope
from tests.conftest import Person, make_person
from tests.console import things
from tests.customers.asking import SUBJECT, asked
from tests.ops.conftest import inside, make_staff

LIST = "/staff/customers/"


@pytest.fixture(scope="module")
def carer() -> Person:
    """A member of staff."""
    return inside(make_staff("carer"))


def listed(carer: Person, **query: str) -> str:
    answer = carer.browser.get(LIST, query)
    assert answer.status_code == 200
    return str(answer.content.decode())


def calls(person: Person, n: int, ago: dt.timedelta, cost: int = 0) -> None:
    """Calls in an hour of the past."""
    hour = (now() - ago).replace(minute=0, second=0, microsecond=0)
    with tenant_scope(person.tenant.pk):
        UsageHour.objects.create(
            project_id=person.project.pk,
            model="m",
            kind="classify",
            price_version="1",
            hour=hour,
            input_tokens=n,
            output_tokens=0,
            requests=n,
            gpu_ms=0,
            cost_nano=cost,
            events=n,
        )


def test_a_customer_is_found_by_name_address_member_and_id_and_nobody_else_is(carer: Person) -> None:
    ada, eve = make_person("ada"), make_person("eve")
    for text in (ada.tenant.slug, ada.user.email, ada.tenant.public_id):
        page = listed(carer, q=text)
        assert f"{LIST}{ada.tenant.pk}/" in page and f"{LIST}{eve.tenant.pk}/" not in page
    assert "No customer matches." in listed(carer, q="nobody-is-called-so")


def test_the_list_is_narrowed_by_tag_health_plan_and_status(carer: Person) -> None:
    ada, eve = make_person("ada"), make_person("eve")
    name = f"pilot-{ada.tenant.pk.hex[-8:]}"
    with ops_scope("test"):
        tag_add(tenant_id=ada.tenant.pk, name=name, by="t")
        Tenant.ops.filter(pk=ada.tenant.pk).update(
            status=Tenant.Status.SUSPENDED, created_at=now() - dt.timedelta(days=90)
        )
    with tenant_scope(ada.tenant.pk):
        plan_grant(plan="team", reason="tests", created_by="tests")
    health_compute()
    both = f"{ada.tenant.slug[-8:]}"
    for query in ({"tag": name}, {"health": "poor"}, {"plan": "team"}, {"status": "suspended"}):
        page = listed(carer, q=both, **query)
        assert f"{LIST}{ada.tenant.pk}/" in page, query
        assert f"{LIST}{eve.tenant.pk}/" not in listed(carer, q=eve.tenant.slug, **query), query
    assert f"{LIST}{eve.tenant.pk}/" in listed(carer, q=eve.tenant.slug, health="new", plan="free", status="active")
    assert "Poor" in listed(carer, q=both)


def test_a_customers_page_says_everything_at_a_glance(carer: Person) -> None:
    ada = make_person("ada")
    make_person("bob", beside=ada, role="billing")
    asked(ada)
    things.made_job(ada, state="failed")
    calls(ada, 40, dt.timedelta(hours=1), cost=1_500_000_000)
    calls(ada, 2, dt.timedelta(days=40))
    page = carer.browser.get(f"{LIST}{ada.tenant.pk}/").content.decode()
    words_shown = (SUBJECT, "free", "Billing", ada.user.email, "failed", "Last call", "View as customer…", "40 calls")
    for words in (*words_shown, "40 against 2", "1 of 1 failed"):
        assert words in page, words
    assert f"/staff/tenants/tenant/{ada.tenant.pk}/view" in page


def test_notes_and_tags_come_and_go_and_say_who_took_them(carer: Person) -> None:
    ada = make_person("ada")
    place = f"{LIST}{ada.tenant.pk}/"
    assert "No notes yet." in carer.browser.get(place).content.decode()
    carer.browser.post(place, {"do": "note", "text": "first line\nsecond <b>line</b>"})
    carer.browser.post(place, {"do": "tag", "tag": "Early Adopter"})
    carer.browser.post(place, {"do": "tag", "tag": "early-adopter"})
    page = carer.browser.get(place).content.decode()
    assert "second &lt;b&gt;line&lt;/b&gt;" in page and "early-adopter" in page
    with ops_scope("test"):
        note = Note.ops.get(tenant=ada.tenant.pk)
        assert Tag.ops.get(tenant=ada.tenant.pk).name == "early-adopter"
    for fields in ({"do": "note_remove", "note": str(note.pk)}, {"do": "tag_remove", "tag": "early-adopter"}):
        assert carer.browser.post(place, fields).status_code == 302
        assert carer.browser.post(place, fields).status_code == 302, "somebody else was faster"
    with ops_scope("test"):
        assert Note.ops.get(pk=note.pk).removed_by == carer.user.email
        assert Tag.ops.get(tenant=ada.tenant.pk).removed_by == carer.user.email
    assert "early-adopter" not in carer.browser.get(place).content.decode().split("<datalist")[0]


@pytest.mark.parametrize(
    "fields",
    [
        {"do": "note", "text": ""},
        {"do": "note", "text": "x" * 4001},
        {"do": "tag", "tag": "ö"},
        {"do": "tag", "tag": "x" * 41},
        {"do": "tag"},
    ],
)
def test_a_note_or_tag_that_is_none_is_refused_on_the_page(carer: Person, fields: dict[str, str]) -> None:
    answer = carer.browser.post(f"{LIST}{make_person('ada').tenant.pk}/", fields)
    assert answer.status_code == 422 and "There is a problem" in answer.content.decode()


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("customers/{tenant}/", {"do": "note_remove", "note": "none"}),
        ("customers/{tenant}/", {"do": "tag_remove", "tag": "\x00"}),
        ("customers/{tenant}/", {"do": "else"}),
        ("customers/{tenant}/", {}),
        ("support/{thread}/", {"text": ""}),
        ("support/{thread}/", {"text": "x" * 10_001}),
        ("support/{thread}/", {"text": "\u200b"}),
    ],
)
def test_no_form_is_a_fault_of_ours(carer: Person, path: str, fields: dict[str, str]) -> None:
    ada = make_person("ada")
    answer = carer.browser.post("/staff/" + path.format(tenant=ada.tenant.pk, thread=asked(ada).pk), fields)
    assert answer.status_code in (302, 400, 422)


@pytest.mark.parametrize(
    "query", ["q=%27%22%3C", "tag=none", "health=none", "page=-1", "page=x", "order=none", "q=" + "a" * 999]
)
def test_no_address_is_a_fault_of_ours(carer: Person, query: str) -> None:
    for page in (LIST, "/staff/support/"):
        assert carer.browser.get(f"{page}?{query}").status_code == 200


def test_strangers_find_none_of_it(carer: Person) -> None:
    ada = make_person("ada")
    thread = asked(ada)
    for path in (LIST, f"{LIST}{ada.tenant.pk}/", "/staff/support/", f"/staff/support/{thread.pk}/"):
        assert ada.browser.get(path).status_code in (302, 404)
        assert Client().get(path).status_code == 302
    for path in (f"{LIST}{uuid4()}/", f"/staff/support/{uuid4()}/", f"/staff/support/{thread.pk}/files/{uuid4()}/"):
        assert carer.browser.get(path).status_code == 404


def queries(carer: Person, path: str) -> int:
    with CaptureQueriesContext(connections["ops"]) as asked_for:
        assert carer.browser.get(path).status_code == 200
    return len(asked_for)


def test_the_list_takes_as_many_queries_for_one_customer_as_for_many(carer: Person) -> None:
    def full(name: str) -> Any:
        person = make_person(name)
        asked(person)
        with ops_scope("test"):
            tag_add(tenant_id=person.tenant.pk, name="counted", by="t")
        return person

    first = full("ada")
    few = queries(carer, f"{LIST}?q={first.tenant.slug}")
    for _ in range(3):
        full("more")
    assert queries(carer, f"{LIST}?tag=counted") == few


def test_the_scores_are_kept_for_everybody_and_kept_anew() -> None:
    ada = make_person("ada")
    with ops_scope("test"):
        Tenant.ops.filter(pk=ada.tenant.pk).update(created_at=now() - dt.timedelta(days=90))
    assert health_compute() >= 1
    with ops_scope("test"):
        assert HealthScore.ops.get(tenant=ada.tenant.pk).band == "poor"
    calls(ada, 40, dt.timedelta(hours=1))
    health_compute()
    with ops_scope("test"):
        row = HealthScore.ops.get(tenant=ada.tenant.pk)
    assert (row.band, row.score) == ("good", 83)
