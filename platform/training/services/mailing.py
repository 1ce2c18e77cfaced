"""E-mail to the person who asked for a job or a sweep: how it ended, or that it stopped and waits for them.

A mail goes once for each thing there is to say. It is marked as sent first and sent after that, so that a worker which
dies in between leaves a mail out and never sends one twice; a mail server that refuses is asked again.
"""

from uuid import UUID

from django.conf import settings
from django.core.mail import send_mail
from django.db.models import Sum
from django.utils.translation import gettext as _

from kit import outbox
from kit.money import written, written_at_most
from registry.models import ModelVersion
from tenants.models import Member
from tenants.scope import tenant_scope
from training import states
from training.models import Job, Sweep
from training.selectors.sweeps import trials_of

MAIL = "training.mail"
SWEEP_MAIL = "training.sweep_mail"
SAID = (states.SUCCEEDED, states.FAILED, states.BUDGET, states.QUOTA)
"""What a person is told. Who cancels or pauses a job knows it."""
SWEEP_SAID = (Sweep.State.SUCCEEDED, Sweep.State.FAILED)


def mail_ring(job: Job, what: str) -> None:
    """Tell of this end, or of this reason for standing still, after the commit."""
    if job.mail_to is not None and what in SAID:
        outbox.ring(MAIL, str(job.tenant_id), str(job.pk))


def sweep_mail_ring(sweep: Sweep) -> None:
    """Tell of the sweep's end, after the commit."""
    if sweep.mail_to is not None and sweep.state in SWEEP_SAID:
        outbox.ring(SWEEP_MAIL, str(sweep.tenant_id), str(sweep.pk))


def job_mail(*, tenant_id: UUID, job_id: UUID) -> bool:
    """Send what there is to say of a job now; whether there was anything. OSError where the mail server refuses."""
    with tenant_scope(tenant_id):
        job = Job.objects.select_related("project", "tenant").filter(pk=job_id).first()
        if job is None or (what := job.blocked_by or job.state) not in SAID:
            return False
        said = what if job.is_final else f"{what} {job.attempt}"
        address = _claimed(job, said)
        subject, body = _letter(job, what) if address else ("", "")
    return bool(address) and _sent(job, said, address, subject, body)


def sweep_mail(*, tenant_id: UUID, sweep_id: UUID) -> bool:
    """Send how a sweep ended; whether there was anything to say. OSError where the mail server refuses."""
    with tenant_scope(tenant_id):
        found = Sweep.objects.select_related("project", "tenant", "winner")
        sweep = found.filter(pk=sweep_id, state__in=SWEEP_SAID).first()
        if sweep is None:
            return False
        address = _claimed(sweep, sweep.state)
        subject, body = _sweep_letter(sweep) if address else ("", "")
    return bool(address) and _sent(sweep, sweep.state, address, subject, body)


def _claimed(row: Job | Sweep, said: str) -> str:
    """Where to send, with the mail marked as sent; empty where nobody is to hear it, or has heard it."""
    member = Member.objects.select_related("user").filter(user_id=row.mail_to, user__is_active=True).first()
    if member is None or (row.key_id is None and not member.user.job_mail):  # switched off since it was started
        return ""
    marked = type(row).objects.filter(pk=row.pk).exclude(mailed=said).update(mailed=said)
    return str(member.user.email) if marked else ""


def _sent(row: Job | Sweep, said: str, address: str, subject: str, body: str) -> bool:
    try:
        send_mail(subject, body, None, [address])
    except OSError:  # smtplib's errors and time-outs are all OSErrors
        with tenant_scope(row.tenant_id):
            type(row).objects.filter(pk=row.pk, mailed=said).update(mailed="")
        raise
    return True


def _letter(job: Job, what: str) -> tuple[str, str]:
    """Subject and body."""
    name = job.suffix or job.public_id
    lines = {
        states.SUCCEEDED: _succeeded,
        states.FAILED: lambda job: [job.error_message, _("You were not charged.")],
        states.BUDGET: lambda job: [
            _("It reached its price ceiling of %s and stopped with a checkpoint.") % written_at_most(job.ceiling_nano),
            _("Allow it more on the job's page, and it goes on from there."),
        ],
        states.QUOTA: lambda job: [
            _("Your spend limit no longer carries the job, so it stopped with a checkpoint."),
            _("Raise the limit under Billing, then resume the job; it goes on from there."),
        ],
    }[what](job)
    subject = {
        states.SUCCEEDED: _("Your model %s is ready"),
        states.FAILED: _("Your job %s failed"),
        states.BUDGET: _("Your job %s stopped at its price ceiling"),
        states.QUOTA: _("Your job %s stopped at your spend limit"),
    }[what] % name
    return subject, _body(job, lines, f"jobs/{job.public_id}/")


def _sweep_letter(sweep: Sweep) -> tuple[str, str]:
    """Subject and body."""
    trials = trials_of(sweep)
    cost = written(trials.aggregate(sum=Sum("price_nano"))["sum"] or 0)
    tried = _("It tried %(trials)s settings for %(cost)s.") % {"trials": trials.count(), "cost": cost}
    if sweep.state == Sweep.State.SUCCEEDED and sweep.winner is not None:
        subject = _("Your sweep %s has a winner") % sweep.name
        score = _("Macro-F1 on the validation rows: %.3f") % (sweep.winner.sweep_score or 0.0)
        lines = [_("Model: %s") % sweep.winner.model_name, score, tried]
    else:
        subject = _("Your sweep %s failed") % sweep.name
        lines = [sweep.error_message, tried]
    return subject, _body(sweep, lines, f"sweeps/{sweep.public_id}/")


def _body(row: Job | Sweep, lines: list[str], page: str) -> str:
    link = f"{settings.BASE_URL}/o/{row.tenant.slug}/p/{row.project.slug}/{page}"
    if row.key_id is None:
        foot = _("You get this mail because you started it. Switch it off under your account: %s")
        foot %= f"{settings.BASE_URL}/account/"
    else:
        foot = _("You get this mail because a key that you made asked for it (x_email_on_end).")
    return "\n\n".join([*lines, link, foot]) + "\n"


def _succeeded(job: Job) -> list[str]:
    version = ModelVersion.objects.filter(pk=job.model_version_id).first()
    lines = [_("Model: %s") % job.model_name]
    accuracy = (version.metrics or {}).get("accuracy") if version is not None else None
    if accuracy is not None:
        lines.append(_("Accuracy on the test rows, which it never saw: %.1f %%") % (100 * accuracy))
    lines.append(_("It cost %s.") % written(job.price_nano))
    return lines
