"""Alerts: they open when something is wrong, are mailed once, stand on the staff's pages, and end by themselves."""

import datetime as dt
import re
from typing import Any

import pytest
from django.core import mail
from django.db.models import F

from billing.models import BillingFinding, Invoice
from billing.selectors.bookings import MIRRORS
from billing.services.findings import Seen, finding_resolve, findings_note
from billing.services.receivables import mirrors_book_all
from inference.errors import Unreachable
from kit.clock import now
from ops import alerts, fleet
from ops.alerts import alerts_look, open_alerts
from ops.models import Alert
from tenants.scope import ops_scope, tenant_scope
from tests.conftest import Cast, Person
from tests.training.making import empty_queue, queued
from training.models import Attempt, Job, Slot
from training.selectors import queue
from training.services.claiming import claim, slots_keep
from training.services.endings import job_give_back
from training.services.parking import slots_quarantine

pytestmark = pytest.mark.slow  # drives many jobs through the queue

HOST = "alert-host"


@pytest.fixture(autouse=True)
def _a_quiet_day(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One place, no job, an engine, nothing that went wrong in another test, and one person to tell."""
    monkeypatch.setattr(alerts, "engine_health", lambda: None)
    settings.ALERT_MAIL = ["oncall@example.com"]
    empty_queue()
    slots_keep(host=HOST, count=1, kind="cpu-fp32", gpu_class="cpu")
    with ops_scope("a quiet day"):
        Attempt.ops.update(ended_at=F("ended_at") - dt.timedelta(days=1))
        for mirror in MIRRORS:
            mirror.ops.update(problem="", booked_at=now())
    BillingFinding.objects.all().delete()
    Alert.objects.all().delete()
    mail.outbox.clear()


def kinds() -> list[str]:
    queue._cache = None  # what stood there a moment ago is not this test's
    alerts_look()
    return sorted(notice.alert.kind for notice in open_alerts())


def wait_since(person: Person, job: Job, hours: float) -> None:
    with tenant_scope(person.tenant.id):
        Job.objects.filter(pk=job.pk).update(queued_at=now() - dt.timedelta(hours=hours))


def test_a_quiet_day_alerts_nobody(cast: Cast) -> None:
    queued(cast.owner)
    assert kinds() == [] and not mail.outbox


def test_a_job_that_waits_too_long_is_mailed_once_and_the_alert_ends_by_itself(cast: Cast, ada: Person) -> None:
    queued(cast.stranger)
    assert claim(host=HOST, worker=f"{HOST}/1/1") is not None
    job = queued(cast.owner)
    wait_since(cast.owner, job, 2)
    assert kinds() == ["queue_age"] and kinds() == ["queue_age"]
    (letter,) = mail.outbox
    assert letter.to == ["oncall@example.com"] and "Jobs wait too long" in letter.subject
    assert "Minutes the first has waited: 120. At most 60 is usual." in letter.body
    for page in ("/staff/", "/staff/queue/", "/staff/fleet/"):
        assert "Jobs wait too long" in ada.browser.get(page).content.decode()
    empty_queue()
    assert kinds() == [] and Alert.objects.get().ended_at is not None
    assert "Jobs wait too long" not in ada.browser.get("/staff/").content.decode()


def test_a_job_that_ran_meanwhile_has_not_waited_all_that_time(cast: Cast) -> None:
    job = queued(cast.owner)
    lease = claim(host=HOST, worker=f"{HOST}/1/1")
    assert lease is not None
    wait_since(cast.owner, job, 3)
    job_give_back(lease=lease, outcome="drained", reason="a test")
    Slot.objects.filter(host=HOST).update(draining=True)
    assert kinds() == []


def test_a_job_that_waits_for_its_own_tenants_limit_alerts_nobody(cast: Cast) -> None:
    slots_keep(host=HOST, count=9, kind="cpu-fp32", gpu_class="cpu")
    for _ in range(3):
        queued(cast.owner)
        claim(host=HOST, worker=f"{HOST}/1/1")
    waiting = queued(cast.owner)
    wait_since(cast.owner, waiting, 2)
    assert kinds() == []


def test_lost_workers_and_faults_of_ours_alert(cast: Cast) -> None:
    outcomes = ["lost"] * 3 + ["crashed"] * 2
    for outcome in outcomes:
        queued(cast.owner)
        lease = claim(host=HOST, worker=f"{HOST}/1/1")
        assert lease is not None
        job_give_back(lease=lease, outcome=outcome, reason="a test")
        empty_queue()
        slots_keep(host=HOST, count=1, kind="cpu-fp32", gpu_class="cpu")
    assert kinds() == ["fault_rate", "lease_losses"]
    with ops_scope("time goes by"):
        Attempt.ops.update(ended_at=F("ended_at") - dt.timedelta(minutes=20))
    assert kinds() == ["fault_rate"]


def test_a_parked_place_and_a_queue_without_workers_alert(cast: Cast) -> None:
    slots_quarantine(slot_ids=[Slot.objects.get(host=HOST).pk], reason="the disk is full")
    assert kinds() == ["parked"]
    job = queued(cast.owner)
    assert kinds() == ["parked"], "workers may be away for a moment"
    wait_since(cast.owner, job, 0.1)
    assert kinds() == ["no_workers", "parked"]


def test_a_mail_server_that_refuses_hides_no_alert(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr("ops.alerts.send_mail", refuse)
    slots_quarantine(slot_ids=[Slot.objects.get(host=HOST).pk], reason="the disk is full")
    assert kinds() == ["parked"]


def away() -> None:
    raise Unreachable("nobody is there")


def test_it_is_told_that_no_engine_answers_once_two_looks_found_none(
    monkeypatch: pytest.MonkeyPatch, ada: Person
) -> None:
    monkeypatch.setattr(alerts, "engine_health", away)
    monkeypatch.setattr(fleet, "engine_health", away)
    assert kinds() == [] and not mail.outbox, "it may be starting again"
    Alert.objects.update(began_at=now() - dt.timedelta(seconds=5))
    page = ada.browser.get("/staff/fleet/").content.decode()
    silent = re.search(r"Not heard from for (\d+)", page)
    assert silent and 5 <= int(silent[1]) < 25 and "The engine does not answer" not in page
    Alert.objects.update(began_at=now() - dt.timedelta(seconds=30))
    assert kinds() == ["no_engine"] and kinds() == ["no_engine"] and len(mail.outbox) == 1
    page = ada.browser.get("/staff/fleet/").content.decode()
    assert "No engine answers" in page and "The engine does not answer" in page and "Not heard from" not in page
    monkeypatch.setattr(alerts, "engine_health", lambda: None)
    assert kinds() == []


def test_an_engine_that_missed_one_look_leaves_no_alert_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerts, "engine_health", away)
    assert kinds() == []
    monkeypatch.setattr(alerts, "engine_health", lambda: None)
    assert kinds() == [] and not Alert.objects.exists()


def test_an_invoice_that_cannot_be_booked_calls_staff_and_is_quiet_when_put_right(cast: Cast) -> None:
    with tenant_scope(cast.owner.tenant.id):
        amounts = {"total": 2_900, "amount_due": 2_900, "amount_paid": 0}
        row = Invoice.objects.create(stripe_id="in_euro", status="open", currency="eur", issued_at=now(), **amounts)
    mirrors_book_all()
    assert kinds() == ["not_bookable"]
    assert "not in the books" in mail.outbox[0].subject + mail.outbox[0].body
    with tenant_scope(cast.owner.tenant.id):
        row.refresh_from_db()
        row.currency, row.booked_at = "usd", None
        row.save()
    mirrors_book_all()
    assert kinds() == []


def test_an_open_finding_alerts_until_it_is_settled() -> None:
    findings_note("stripe", [Seen("stripe.invoice_differs", "in_alert", "paid", "open")])
    assert kinds() == ["findings"]
    assert "not as they must be" in mail.outbox[0].subject
    finding_resolve(finding_id=BillingFinding.objects.get(object="in_alert").pk, by="ops", reason="it was paid")
    assert kinds() == []
