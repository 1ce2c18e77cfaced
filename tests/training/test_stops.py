"""Jobs that a spend limit or a suspension stops, and the mail that says how a job ended."""

import smtplib
import uuid
from typing import Any

import pytest
from django.core import mail

from billing.models import JobHold
from billing.selectors.budgets import budget_month
from billing.services.limits import spend_limit_set
from tenants.models import Member, Tenant
from tenants.scope import tenant_scope
from tenants.services.organisations import tenant_set_status
from tests.conftest import Cast, Person, make_person
from tests.training.making import BASE, body, empty_queue, queued, reload
from training import states
from training.models import Job
from training.services.claiming import claim, slots_keep
from training.services.endings import job_block, job_fail, job_give_back, job_stop
from training.services.leases import Lease, Standing, lease_advance, lease_look, lease_renew
from training.services.limiting import limits_obey
from training.services.mailing import job_mail

pytestmark = pytest.mark.slow  # drives many jobs through the queue

JOBS = "/v1/fine_tuning/jobs"
HOST = "stops-host"


@pytest.fixture(autouse=True)
def _places() -> None:
    """Two places to train, no job of another test, and nothing told yet."""
    empty_queue()
    slots_keep(host=HOST, count=2, kind="cpu-fp32", gpu_class="cpu")
    mail.outbox.clear()


def take(*, tokens: int = 0) -> Lease:
    """The next job's lease, with so much trained."""
    lease = claim(host=HOST, worker=f"{HOST}/1/{uuid.uuid4().hex[:4]}")
    assert lease is not None
    if tokens:
        assert lease_advance(lease=lease, state=states.STARTING) and lease_advance(lease=lease, state=states.RUNNING)
        lease_renew(lease=lease, standing=Standing(phase="training", step=5, total_steps=9, trained_tokens=tokens))
    return lease


def held(person: Person, job: Job) -> int:
    with tenant_scope(person.tenant.id):
        return int(JobHold.objects.get(job_id=job.pk).reserved_nano)


def limit(person: Person, nano: int | None) -> None:
    with tenant_scope(person.tenant.id):
        spend_limit_set(monthly_nano=nano)


def promised(person: Person) -> int:
    with tenant_scope(person.tenant.id):
        month = budget_month()
        assert month is not None
        return month.promised_nano


def set_status(person: Person, status: str) -> None:
    with tenant_scope(person.tenant.id):
        tenant = Tenant.objects.get(pk=person.tenant.id)
        tenant_set_status(tenant=tenant, status=status, reason="a test")


# ── A spend limit ──


def test_a_limit_that_is_lowered_stops_a_running_job_with_what_it_has_used(cast: Cast) -> None:
    ada = cast.owner
    job = queued(ada)
    lease = take(tokens=2)
    assert limits_obey() == 0 and lease_look(lease=lease).stop == ""
    used = reload(ada, job.public_id).ceiling_nano // 2
    limit(ada, used)
    assert limits_obey() == 1 and limits_obey() == 0, "it is told once"
    assert lease_look(lease=lease).stop == states.QUOTA
    job_block(lease=lease, by=states.QUOTA)
    row = reload(ada, job.public_id)
    assert (row.state, row.blocked_by, row.stop_for) == ("blocked", "quota", "")
    assert 0 < held(ada, job) < row.ceiling_nano and promised(ada) <= used

    refused = ada.api.post(f"{JOBS}/{job.public_id}/resume", {})
    assert refused.status_code == 402 and "spend limit" in refused.json()["error"]["message"]
    limit(ada, None)
    answer = ada.api.post(f"{JOBS}/{job.public_id}/resume", {}).json()
    assert (answer["status"], answer["x_blocked_by"]) == ("queued", None)
    assert held(ada, job) == row.ceiling_nano, "the whole ceiling is held again"


def test_no_more_jobs_stop_than_the_limit_asks_for_and_the_newest_first(cast: Cast) -> None:
    ada = cast.owner
    first, second, third = queued(ada), queued(ada), queued(ada)
    take(tokens=1)
    limit(ada, held(ada, first) + held(ada, second))
    assert limits_obey() == 1
    assert [reload(ada, job.public_id).blocked_by for job in (first, second, third)] == ["", "", "quota"]
    assert promised(ada) <= held(ada, first) + held(ada, second)
    assert limits_obey() == 0


def test_a_job_whose_limit_was_raised_in_time_queues_again(cast: Cast) -> None:
    job = queued(cast.owner)
    lease = take(tokens=2)
    limit(cast.owner, 1)
    limits_obey()
    assert lease_look(lease=lease).stop == states.QUOTA
    limit(cast.owner, None)
    limits_obey()
    job_block(lease=lease, by=states.QUOTA)
    row = reload(cast.owner, job.public_id)
    assert (row.state, held(cast.owner, job)) == ("queued", row.ceiling_nano)


def test_a_job_that_was_told_to_stop_and_lost_its_worker_is_told_anew(cast: Cast) -> None:
    job = queued(cast.owner)
    lease = take(tokens=2)
    limit(cast.owner, 1)
    limits_obey()
    job_give_back(lease=lease, outcome="drained", reason="a test")
    row = reload(cast.owner, job.public_id)
    assert (row.state, row.stop_for) == ("queued", "")


def test_a_paused_job_lets_go_of_its_price_before_a_running_one_stops(cast: Cast) -> None:
    ada = cast.owner
    running = queued(ada)
    take(tokens=1)
    paused = queued(ada)
    assert ada.api.post(f"{JOBS}/{paused.public_id}/pause", {}).status_code == 200
    limit(ada, held(ada, running))
    assert limits_obey() == 1
    assert [reload(ada, job.public_id).blocked_by for job in (running, paused)] == ["", "quota"]
    assert promised(ada) <= held(ada, running) and held(ada, paused) == 0


def test_the_limit_of_one_organisation_stops_no_job_of_another(cast: Cast) -> None:
    stranger = make_person("frugal")
    mine, theirs = queued(cast.owner), queued(stranger)
    take(tokens=2)
    take(tokens=2)
    limit(stranger, 1)
    limits_obey()
    assert reload(cast.owner, mine.public_id).stop_for == ""
    assert reload(stranger, theirs.public_id).stop_for == "quota"


# ── A suspension ──


def test_jobs_of_a_suspended_organisation_stop_and_go_on_by_themselves_once_it_is_open(cast: Cast) -> None:
    ada = cast.owner
    running, waiting = queued(ada), queued(ada)
    lease = take(tokens=2)
    set_status(ada, "suspended")
    assert limits_obey() == 2 and limits_obey() == 0
    assert lease_look(lease=lease).stop == states.SUSPENDED
    job_block(lease=lease, by=states.SUSPENDED)
    for job in (running, waiting):
        row = reload(ada, job.public_id)
        assert (row.state, row.blocked_by, held(ada, job)) == ("blocked", "suspended", row.ceiling_nano)
    assert claim(host=HOST, worker=f"{HOST}/1/x") is None
    set_status(ada, "closed")
    assert limits_obey() == 0, "what is closed after that is not open"
    set_status(ada, "active")
    assert limits_obey() == 2
    assert {reload(ada, job.public_id).state for job in (running, waiting)} == {"queued"}


def test_jobs_of_an_organisation_that_is_closed_at_once_stop_too(cast: Cast) -> None:
    job = queued(cast.owner)
    set_status(cast.owner, "closed")
    assert limits_obey() == 1
    assert reload(cast.owner, job.public_id).state == "blocked"


def test_a_job_told_to_stop_goes_on_if_the_organisation_opens_in_time(cast: Cast) -> None:
    queued(cast.owner)
    waiting = queued(cast.owner)
    lease = take(tokens=2)
    set_status(cast.owner, "suspended")
    limits_obey()
    set_status(cast.owner, "active")
    limits_obey()
    assert lease_look(lease=lease).stop == "" and reload(cast.owner, waiting.public_id).state == "queued"


# ── Mail ──


def asked(person: Person, **changes: Any) -> Job:
    """A queued job whose person hears of its end."""
    job = queued(person, **changes)
    with tenant_scope(person.tenant.id):
        Job.objects.filter(pk=job.pk).update(mail_to=person.user.pk, key_id=None)
    return job


def tell(job: Job) -> bool:
    return job_mail(tenant_id=job.tenant_id, job_id=job.pk)


def test_whoever_asked_hears_once_why_a_job_failed(cast: Cast) -> None:
    job = asked(cast.owner, suffix="refunds")
    assert not tell(job), "nothing to say yet"
    job_fail(lease=take(), code="bad_data", message="Row 7 is empty. Remove it.")
    assert tell(job) and not tell(job)
    (letter,) = mail.outbox
    assert letter.to == [cast.owner.user.email] and "refunds failed" in letter.subject
    assert "Row 7 is empty" in letter.body and f"/jobs/{job.public_id}/" in letter.body


def test_who_switches_mail_off_hears_nothing_of_open_jobs(cast: Cast) -> None:
    job = asked(cast.owner)
    assert cast.owner.browser.post("/account/", {"name": "Ada"}).status_code == 302
    job_fail(lease=take(), code="bad_data", message="No.")
    assert not tell(job) and not mail.outbox


def test_a_mail_server_that_refuses_is_asked_again(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    job = asked(cast.owner)
    job_fail(lease=take(), code="bad_data", message="No.")

    def refuse(*_: Any, **__: Any) -> None:
        raise smtplib.SMTPServerDisconnected("gone")

    with monkeypatch.context() as broken:
        broken.setattr("training.services.mailing.send_mail", refuse)
        with pytest.raises(OSError, match="gone"):
            tell(job)
    assert tell(job) and len(mail.outbox) == 1


def test_a_job_that_stops_at_the_limit_again_is_told_again(cast: Cast) -> None:
    ada = cast.owner
    job = asked(ada)
    for _ in range(2):
        lease = take(tokens=2)
        limit(ada, 1)
        limits_obey()
        job_block(lease=lease, by=states.QUOTA)
        assert tell(job) and not tell(job)
        limit(ada, None)
        ada.api.post(f"{JOBS}/{job.public_id}/resume", {})
    assert [letter.subject.split(" stopped at ")[1] for letter in mail.outbox] == ["your spend limit"] * 2


def test_nobody_hears_of_what_they_did_themselves_and_former_members_hear_nothing(cast: Cast) -> None:
    ada = cast.owner
    cancelled, failed = asked(ada), asked(ada)
    ada.api.post(f"{JOBS}/{cancelled.public_id}/cancel")
    assert not tell(cancelled)
    with tenant_scope(ada.tenant.id):
        job_stop(job=Job.objects.select_for_update().get(pk=failed.pk), code="x", message="Stopped.")
        Member.objects.filter(user=ada.user).delete()
    assert not tell(failed) and not mail.outbox


def test_a_key_asks_for_mail_and_its_maker_gets_it(cast: Cast) -> None:
    silent, loud = queued(cast.owner), queued(cast.owner, x_email_on_end=True)
    assert (silent.mail_to, loud.mail_to) == (None, cast.owner.user.pk)
    again = cast.owner.api.post(f"{JOBS}/{loud.public_id}/clone", {}).json()
    assert again["x_email_on_end"] is True


def test_the_console_mails_those_who_did_not_switch_it_off(cast: Cast) -> None:
    ada = cast.owner
    form = {"dataset": body(ada)["training_file"], "model": BASE, "method": "head", "lane": "standard"}
    profile = {"name": "Ada"}
    for wanted in (profile | {"job_mail": "on"}, profile):
        assert ada.browser.post("/account/", wanted).status_code == 302
        answer = ada.browser.post(f"{ada.workspace}/jobs/new", form)
        assert answer.status_code == 302, answer.content.decode()
        job = reload(ada, answer["Location"].rstrip("/").split("/")[-1])
        assert job.mail_to == (ada.user.pk if "job_mail" in wanted else None)
