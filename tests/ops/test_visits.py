"""Viewing as a customer: read-only by construction, for a reason, for half an hour, in both logs."""

import datetime as dt
from typing import Any

import pytest
from django.db import connections
from django.test import Client

from billing.services.entitlements import plan_grant
from kit.clock import now
from ops.models import StaffAction
from tenants.models import AuditEvent, Member, Visit
from tenants.scope import ops_scope, tenant_scope
from tenants.visiting import LASTS
from tests.conftest import Person, Snapshot, make_person
from tests.isolation.policies import POLICIES
from tests.isolation.routes import parameters
from tests.isolation.test_matrix import body_of, browse
from tests.ops.conftest import inside, make_staff

WHY = "asked for in ticket 4711"
PROJECT = "o/<slug:org>/p/<slug:project>"
CLOSED = {
    f"{PROJECT}/models/<str:model>/weights",
    f"{PROJECT}/models/<str:model>/csv",
    f"{PROJECT}/jobs/<str:job>/csv",
    f"{PROJECT}/files/<str:file>/rows",
    "o/<slug:org>/usage/csv",
    "o/<slug:org>/audit.csv",
    "o/<slug:org>/support/<str:thread>/files/<str:file>",
}
"""Files, which a visitor does not take along."""


@pytest.fixture(scope="module")
def guest() -> Person:
    """A member of staff who visits."""
    return inside(make_staff("guest"))


@pytest.fixture(scope="module")
def host() -> Person:
    """Whose console is looked at, with room for what every page shows."""
    person = make_person("host")
    with tenant_scope(person.tenant.id):
        plan_grant(plan="enterprise", reason="tests", created_by="tests")
    return person


def go(guest: Person, host: Person) -> Any:
    """Begin a visit through the staff console."""
    return guest.browser.post(f"/staff/tenants/tenant/{host.tenant.pk}/view/", {"reason": WHY})


def visit_of(host: Person) -> Visit:
    """The newest visit."""
    with tenant_scope(host.tenant.pk):
        return Visit.objects.latest("created_at")


def test_a_visit_needs_a_reason_leads_into_the_console_and_is_in_both_logs(guest: Person, host: Person) -> None:
    page = f"/staff/tenants/tenant/{host.tenant.pk}/view/"
    assert guest.browser.get(page).status_code == 200
    assert guest.browser.post(page, {"reason": "x"}).status_code == 422
    assert guest.browser.get(f"{host.workspace}/").status_code == 404
    answer = go(guest, host)
    assert (answer.status_code, answer.headers["Location"]) == (302, f"{host.home}/")
    cookie = answer.cookies["visit"]
    assert (cookie["samesite"], cookie["httponly"], cookie["max-age"]) == ("Strict", True, LASTS.total_seconds())
    shown = guest.browser.get(f"{host.workspace}/").content.decode()
    assert f"Viewing {host.tenant.name} as staff, read-only, until" in shown
    with tenant_scope(host.tenant.pk):
        event = AuditEvent.objects.get(action="visit.started")
    assert (event.actor_kind, event.actor_label, event.reason) == ("staff", guest.user.email, WHY)
    assert WHY in host.browser.get(f"{host.home}/audit").content.decode()
    line = StaffAction.objects.filter(organisation=host.tenant.pk).latest("at")
    assert (line.action, line.reason) == ("tenant.view", WHY)


def test_leaving_ends_the_visit_at_once_and_is_logged(guest: Person, host: Person) -> None:
    go(guest, host)
    kept = guest.browser.cookies["visit"].value
    answer = guest.browser.post("/visit/leave")
    assert answer.headers["Location"] == f"/staff/tenants/tenant/{host.tenant.pk}/change/"
    guest.browser.cookies["visit"] = kept
    assert guest.browser.get(f"{host.workspace}/").status_code == 404
    with tenant_scope(host.tenant.pk):
        assert AuditEvent.objects.filter(action="visit.ended").count() == 1
    assert guest.browser.post("/visit/leave").headers["Location"] == "/"


def test_a_visit_is_over_after_half_an_hour(guest: Person, host: Person) -> None:
    go(guest, host)
    assert guest.browser.get(f"{host.workspace}/").status_code == 200
    with tenant_scope(host.tenant.pk):
        Visit.objects.filter(pk=visit_of(host).pk).update(expires_at=now() - dt.timedelta(seconds=1))
    assert guest.browser.get(f"{host.workspace}/").status_code == 404


def test_the_cookie_opens_nothing_for_anybody_else_or_anywhere_else(guest: Person, host: Person) -> None:
    go(guest, host)
    kept = guest.browser.cookies["visit"].value
    thief = make_person("thief")
    thief.browser.cookies["visit"] = kept
    assert thief.browser.get(f"{host.workspace}/").status_code == 404
    assert Client().get(f"{host.workspace}/").status_code == 302
    other = make_person("other")
    assert guest.browser.get(f"{other.workspace}/").status_code == 404
    for forged in (kept[:-1] + ("a" if kept[-1] != "a" else "b"), str(visit_of(host).pk), "", "x"):
        guest.browser.cookies["visit"] = forged
        assert guest.browser.get(f"{host.workspace}/").status_code == 404


def test_losing_the_role_ends_every_visit(host: Person) -> None:
    guest = inside(make_staff("leaver"))
    go(guest, host)
    assert guest.browser.get(f"{host.workspace}/").status_code == 200
    type(guest.user).objects.filter(pk=guest.user.pk).update(is_staff=False)
    assert guest.browser.get(f"{host.workspace}/").status_code == 404


def test_a_member_visits_nobody_at_home(host: Person) -> None:
    guest = inside(make_staff("both"))
    with tenant_scope(host.tenant.pk):
        Member.objects.create(user=guest.user, role="viewer")
    assert go(guest, host).status_code == 422
    assert "visit" not in guest.browser.cookies


PAGES = [
    pytest.param(route, method, id=f"{method} {route}")
    for route, policy in sorted(POLICIES.items())
    for method in policy.success
    if policy.door == "page" and "org" in parameters(route)
]


@pytest.mark.slow
@pytest.mark.parametrize(("route", "method"), PAGES)
def test_a_visitor_reads_every_page_and_changes_nothing(
    guest: Person, host: Person, snapshot: Snapshot, route: str, method: str
) -> None:
    """The matrix of every console route: each GET shows the page or refuses it, everything else is refused."""
    policy = POLICIES[route]
    ids = {"org": host.tenant.slug, "project": host.project.slug, **policy.make(host)}
    assert go(guest, host).status_code == 302
    before = snapshot(host)
    answer = browse(policy, guest, method, route, ids)
    if method == "GET" and route not in CLOSED:
        allowed = {policy.success["GET"], 403} if policy.success["GET"] == 200 else {policy.success["GET"], 403, 405}
    else:
        allowed = {403, 405}
    assert answer.status_code in allowed, body_of(answer)[:2000]
    assert snapshot(host) == before


def test_the_matrix_tries_every_file() -> None:
    assert CLOSED.issubset(page.values[0] for page in PAGES)


def test_pages_a_viewer_opens_open_for_a_visitor_too(guest: Person, host: Person) -> None:
    go(guest, host)
    for path in ("", "datasets/", "jobs/", "models/", "deployments/", "playground/", "keys"):
        assert guest.browser.get(f"{host.workspace}/{path}").status_code == 200, path
    for path in ("usage/", "billing/", "members", "audit", "settings"):
        assert guest.browser.get(f"{host.home}/{path}").status_code == 200, path
    found = guest.browser.get("/search", {"q": "ho", "in": f"{host.tenant.slug}/default"})
    assert found.status_code == 200


def test_a_key_shows_no_more_than_its_last_four_characters(guest: Person, host: Person) -> None:
    go(guest, host)
    text = guest.browser.get(f"{host.workspace}/keys").content.decode()
    assert host.key_row.redacted in text
    assert host.key not in text


def test_the_database_itself_refuses_a_visitors_write(
    guest: Person, host: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    from console.views.home import Overview

    def careless(self: Any, request: Any) -> Any:
        with connections["default"].cursor() as cursor:
            cursor.execute("UPDATE tenants_tenant SET name = 'stolen'")

    go(guest, host)
    monkeypatch.setattr(Overview, "get", careless)
    assert guest.browser.get(f"{host.workspace}/").status_code == 500
    with ops_scope("test"):
        assert type(host.tenant).ops.get(pk=host.tenant.pk).name == host.tenant.name
