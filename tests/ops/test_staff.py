"""The staff's door, what stands behind it, and what every action leaves behind."""

import re
from datetime import UTC, timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection

from billing.models import AutoTopUp, CreditGrant, EntitlementOverride, StripeEvent, TopUpConsent
from billing.selectors.subscriptions import entitlement_for
from billing.selectors.wallet import balance_nano, postpaid_nano
from billing.services.credits import credit_grant
from billing.services.metering import usage_rollup
from kit.clock import now
from kit.money import with_symbol
from ops.dashboard import MOST, context
from ops.models import StaffAction
from tenants.access import resolve_key
from tenants.errors import TenantSuspended
from tenants.models import AuditEvent, Tenant
from tenants.scope import ops_scope, tenant_scope
from tests.billing.money import call, store_events
from tests.conftest import CURRENCY, Cast, Person
from tests.console.pages import signed_in, visit
from tests.training.making import empty_queue, queued, reload
from training.errors import Fenced
from training.models import Job
from training.services.claiming import claim, slots_keep
from training.services.leases import Standing, lease_renew

WHY = "asked for in ticket 4711"


def test_the_dashboard_opens_with_its_own_policy_and_shows_figures(ada: Person, cast: Cast) -> None:
    answer = ada.browser.get("/staff/")
    text = answer.content.decode()
    assert answer.status_code == 200
    assert "'unsafe-eval'" in answer["Content-Security-Policy"]
    for heading in ("Tenants", "Jobs by state", "Queues", "Revenue this month", "Workers", "Failures in 24 hours"):
        assert heading in text


def path_of(tenant: Tenant, what: str) -> str:
    """The address of an action on a tenant."""
    return f"/staff/tenants/tenant/{tenant.pk}/{what}/"


def audit_of(tenant: Tenant, action: str) -> AuditEvent:
    """The tenant's own record of an action."""
    with tenant_scope(tenant.pk):
        found: AuditEvent = AuditEvent.objects.get(action=action)
        return found


def test_suspending_needs_a_reason_closes_keys_and_is_logged_twice(ada: Person, cast: Cast) -> None:
    tenant = cast.owner.tenant
    assert ada.browser.get(path_of(tenant, "suspend")).status_code == 200
    assert ada.browser.post(path_of(tenant, "suspend"), {"reason": "x"}).status_code == 422
    assert resolve_key(f"Bearer {cast.owner.key}").tenant_id == tenant.pk
    assert ada.browser.post(path_of(tenant, "suspend"), {"reason": WHY}).status_code == 302
    with pytest.raises(TenantSuspended):
        resolve_key(f"Bearer {cast.owner.key}")
    event = audit_of(tenant, "tenant.suspended")
    assert (event.actor_kind, event.actor_label, event.reason) == ("staff", ada.user.email, WHY)
    line = StaffAction.objects.get(organisation=tenant.pk)
    assert (line.action, line.actor_label, line.reason) == ("tenant.suspend", ada.user.email, WHY)
    assert ada.browser.post(path_of(tenant, "suspend"), {"reason": WHY}).status_code == 422
    assert ada.browser.post(path_of(tenant, "reopen"), {"reason": WHY}).status_code == 302
    assert resolve_key(f"Bearer {cast.owner.key}").tenant_id == tenant.pk


def test_a_quota_override_changes_the_entitlement_and_can_be_taken_back(ada: Person, cast: Cast) -> None:
    tenant = cast.owner.tenant
    before = entitlement_for(tenant.pk).limits.requests_per_minute
    form = {"limit": "requests_per_minute", "value": str(before + 17), "reason": WHY}
    assert ada.browser.post(path_of(tenant, "override"), {**form, "value": "many"}).status_code == 422
    assert ada.browser.post(path_of(tenant, "override"), form).status_code == 302
    assert entitlement_for(tenant.pk).limits.requests_per_minute == before + 17
    assert audit_of(tenant, "entitlement.overridden").reason == WHY
    with ops_scope("test"):
        override = EntitlementOverride.ops.get(tenant=tenant)
    path = f"/staff/billing/entitlementoverride/{override.pk}/take-back/"
    assert ada.browser.post(path, {"reason": WHY}).status_code == 302
    assert entitlement_for(tenant.pk).limits.requests_per_minute == before


@pytest.mark.parametrize(
    "wrong",
    [
        {"valid_until": "9999-12-31"},
        {"valid_until": "0001-01-01"},
        {"valid_until": "tomorrow"},
        {"value": "9" * 40},
        {"value": "-1"},
        {"value": "a\x00"},
        {"limit": "nobody"},
        {"limit": "monthly_spend_nano", "value": "1e999999999"},
        {"limit": "monthly_spend_nano", "value": "NaN"},
        {"plan": "nobody"},
        {"reason": "\x00" * 20},
        {"reason": " " * 20},
    ],
)
def test_an_override_nobody_can_mean_is_refused_on_its_page(ada: Person, cast: Cast, wrong: dict[str, str]) -> None:
    tenant = cast.owner.tenant
    before = entitlement_for(tenant.pk)
    form = {"limit": "requests_per_minute", "value": "60", "reason": WHY} | wrong
    assert ada.browser.post(path_of(tenant, "override"), form).status_code == 422
    assert entitlement_for(tenant.pk) == before


def test_a_webhook_is_replayed_and_logged(ada: Person) -> None:
    event = StripeEvent.objects.create(
        event_id=f"evt_{now().timestamp()}", type="nothing.we.keep", payload={}, created_at=now(), state="failed"
    )
    answer = ada.browser.post(f"/staff/billing/stripeevent/{event.pk}/replay/", {"reason": WHY})
    assert answer.status_code == 302
    event.refresh_from_db()
    assert event.state in ("ignored", "parked", "done")
    assert StaffAction.objects.filter(action="webhook.replay", target_id=str(event.pk)).count() == 1


def test_a_replay_that_does_not_help_says_so(ada: Person) -> None:
    event = StripeEvent.objects.create(
        event_id=f"evt_{now().timestamp()}", type="customer.subscription.updated", object_kind="subscription",
        object_id="sub_nobody", customer_id="cus_nobody", payload={}, created_at=now(), state="parked",
    )  # fmt: skip
    answer = ada.browser.post(f"/staff/billing/stripeevent/{event.pk}/replay/", {"reason": WHY}, follow=True)
    event.refresh_from_db()
    assert event.state in ("failed", "parked")
    assert "it still waits" in answer.content.decode() and "Done: Replay" not in answer.content.decode()


def test_the_dashboard_counts_from_midnight_and_leads_to_every_event_that_waits(ada: Person, cast: Cast) -> None:
    before = dashboard_figures()
    midnight = now().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    tenant = cast.owner.tenant.pk
    store_events([call(tenant, n, cost=20, at=midnight, project_id=cast.owner.project.pk) for n in range(7)])
    usage_rollup(tenant_id=tenant)
    assert dashboard_figures() == before + 7
    parked = StripeEvent.objects.create(
        event_id=f"evt_{now().timestamp()}", type="customer.updated", payload={}, created_at=now(), state="parked"
    )
    link = re.search(r'href="([^"]*stripeevent[^"]*state__in[^"]*)"', ada.browser.get("/staff/").content.decode())
    assert link and parked.event_id in ada.browser.get(link[1]).content.decode()


def dashboard_figures() -> int:
    """Calls today, as the dashboard counts them."""
    with ops_scope("tests"):
        return int(context()["usage_today"]["requests"] or 0)


def test_the_dashboards_tables_say_how_many_rows_are_left_out_and_where_they_are(ada: Person, cast: Cast) -> None:
    with ops_scope("tests"):
        for n in range(MOST + 1):
            StaffAction.objects.create(actor_label="ada", action=f"test.{n}", reason=WHY)
        Job.ops.filter(state="failed").update(finished_at=now() - timedelta(days=2))
    for _ in range(MOST + 1):
        job = queued(cast.owner)
        with ops_scope("tests"):
            Job.ops.filter(pk=job.pk).update(state="failed", finished_at=now())
    text = ada.browser.get("/staff/").content.decode()
    assert f"The newest {MOST} of {MOST + 1}; see all failed jobs" in text
    assert re.search(rf"The newest {MOST} of [\d,]+; see all staff actions", text)
    for table in ("Failures in 24 hours", "Staff actions"):
        assert f'tabindex="0" role="region" aria-label="{table}"' in text


def test_the_staff_log_cannot_be_changed(ada: Person, cast: Cast) -> None:
    ada.browser.post(path_of(cast.owner.tenant, "suspend"), {"reason": WHY})
    with pytest.raises(DatabaseError, match="permission denied"), connection.cursor() as cursor:
        cursor.execute("DELETE FROM ops_staffaction")
    assert ada.browser.get("/staff/ops/staffaction/").status_code == 200


def test_an_unknown_row_is_a_404(ada: Person, cast: Cast) -> None:
    unknown = path_of(Tenant(), "suspend")
    assert ada.browser.get(unknown).status_code == 404
    assert ada.browser.post(unknown, {"reason": WHY}).status_code == 404


def test_a_stuck_job_is_requeued_its_worker_fenced_off_and_the_customer_told(ada: Person, cast: Cast) -> None:
    empty_queue()
    slots_keep(host="staff-host", count=1, kind="cpu-fp32", gpu_class="cpu")
    job = queued(cast.owner)
    lease = claim(host="staff-host", worker="staff-host/1/1")
    assert lease is not None and lease.job_id == job.pk
    path = f"/staff/training/job/{job.pk}/requeue/"
    assert ada.browser.post(path, {"reason": "too short"[:3]}).status_code == 422
    assert ada.browser.post(path, {"reason": WHY}).status_code == 302
    assert reload(cast.owner, job.public_id).state == "queued"
    with pytest.raises(Fenced):
        lease_renew(lease=lease, standing=Standing(phase="training"))
    assert audit_of(cast.owner.tenant, "job.requeued").actor_kind == "staff"
    with tenant_scope(cast.owner.tenant.pk):
        Job.objects.filter(pk=job.pk).update(state="cancelled", finished_at=now())
    answer = ada.browser.post(path, {"reason": WHY})
    assert (answer.status_code, "has ended" in answer.content.decode()) == (422, True)


def test_the_tenant_page_says_what_staff_ask_first(ada: Person, cast: Cast) -> None:
    page = ada.browser.get(f"/staff/tenants/tenant/{cast.owner.tenant.pk}/change/").content.decode()
    for words in (cast.owner.tenant.public_id, f"{cast.owner.user.email} (owner)", "Used this month", "Suspend"):
        assert words in page
    assert "Reopen" not in page


@pytest.mark.browser
@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume synchronous iterators")
def test_the_console_runs_under_its_own_policy_without_a_complaint(
    site: str, chromium: Any, ada: Person, cast: Cast
) -> None:
    context = chromium.new_context()
    signed_in(context, site, ada, cookie="staff")
    tenant = f"/staff/tenants/tenant/{cast.owner.tenant.pk}"
    for path in ("/staff/", "/staff/tenants/tenant/", f"{tenant}/change/", f"{tenant}/override/"):
        seen = visit(context, site + path)
        assert seen.complaints == [], path
        seen.page.close()
    context.close()


def test_credit_is_given_with_a_reason_and_an_end_once_a_page(ada: Person, cast: Cast) -> None:
    tenant = cast.owner.tenant
    page = ada.browser.get(path_of(tenant, "credit")).content.decode()
    once = re.search(r'name="once" value="([0-9a-f-]+)"', page)
    assert once is not None
    form = {"kind": "promo", "amount": "25", "expires": "2999-01-31", "reason": WHY, "once": once[1]}
    for wrong in ({"amount": "-1"}, {"amount": "0"}, {"amount": "x"}, {"expires": "2020-01-01"}, {"reason": "x"},
                  {"kind": "prepaid"}, {"once": "x"}):  # fmt: skip
        assert ada.browser.post(path_of(tenant, "credit"), form | wrong).status_code == 422
    for _ in range(2):
        assert ada.browser.post(path_of(tenant, "credit"), form).status_code == 302
    with tenant_scope(tenant.pk):
        grant = CreditGrant.objects.get()
        assert balance_nano() == 25 * 10**9
    assert (grant.kind, grant.reason, grant.created_by) == ("promo", WHY, ada.user.email)
    assert grant.expires_at is not None and f"{grant.expires_at:%Y-%m-%d}" == "2999-02-01"
    event = audit_of(tenant, "credit.granted")
    assert (event.actor_kind, event.reason) == ("staff", WHY)
    assert StaffAction.objects.filter(organisation=tenant.pk, action="credit.give").count() == 1


def test_an_organisation_is_held_to_its_credit(ada: Person, cast: Cast) -> None:
    tenant = cast.owner.tenant
    assert ada.browser.post(path_of(tenant, "account"), {"most": "x", "reason": WHY}).status_code == 422
    assert ada.browser.post(path_of(tenant, "account"), {"most": "0", "reason": WHY}).status_code == 302
    with tenant_scope(tenant.pk):
        assert postpaid_nano() == 0
    assert ada.browser.post(path_of(tenant, "account"), {"most": "", "reason": WHY}).status_code == 302
    with tenant_scope(tenant.pk):
        assert postpaid_nano() is None


def test_bought_credit_is_taken_back_as_far_as_it_is_unused(ada: Person, cast: Cast) -> None:
    tenant = cast.owner.tenant
    with tenant_scope(tenant.pk):
        bought = credit_grant(kind="prepaid", amount_nano=30 * 10**9, source="cs_test_1")
        given = credit_grant(kind="promo", amount_nano=5 * 10**9, source="t")
        agreed = TopUpConsent.objects.create(below_nano=10**9, amount_nano=10**10, month_most_nano=10**10, text="yes")
        AutoTopUp.objects.create(consent=agreed)
    path = "/staff/billing/creditgrant/{}/take-back/"
    assert ada.browser.post(path.format(bought.pk), {"reason": "x"}).status_code == 422
    assert ada.browser.post(path.format(given.pk), {"reason": WHY}).status_code == 422
    page = f"/staff/billing/creditgrant/{bought.pk}/change/"
    assert "Take back" in ada.browser.get(page).content.decode()
    assert ada.browser.post(path.format(bought.pk), {"reason": WHY}).status_code == 302
    assert ada.browser.post(path.format(bought.pk), {"reason": WHY}).status_code == 422, "nothing is left"
    assert "Take back" not in ada.browser.get(page).content.decode()
    with tenant_scope(tenant.pk):
        assert balance_nano() == 5 * 10**9
        assert not AutoTopUp.objects.get().on, "or it would buy at once what is given back"
    assert with_symbol("30.00", CURRENCY) in ada.browser.get("/staff/billing/creditgrant/").content.decode()
    assert StaffAction.objects.filter(organisation=tenant.pk, action="credit.take_back").count() == 1
