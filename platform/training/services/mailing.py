"""E-mail to the person who asked for a job: how it ended, or that it stopped and waits for them.

A mail goes once for each thing there is to say. It is marked as sent first and sent after that, so that a worker which
dies in between leaves a mail out and never sends one twice; a mail server that refuses is asked again.
"""

from uuid import UUID

from django.conf import settings
from django.core.mail import send_mail
from django.utils.translation import gettext as _

from kit import outbox
from kit.money import usd
from registry.models import ModelVersion
from tenants.models import Member
from tenants.scope import tenant_scope
from training import states
from training.models import Job

MAIL = "training.mail"
SAID = (states.SUCCEEDED, states.FAILED, states.BUDGET, states.QUOTA)
"""What a person is told. Who cancels or pauses a job knows it."""


def mail_ring(job: Job, what: str) -> None:
    """Tell of this end, or of this reason for standing still, after the commit."""
    if job.mail_to is not None and what in SAID:
        outbox.ring(MAIL, str(job.tenant_id), str(job.pk))


def job_mail(*, tenant_id: UUID, job_id: UUID) -> bool:
    """Send what there is to say of a job now; whether there was anything. OSError where the mail server refuses."""
    with tenant_scope(tenant_id):
        job = Job.objects.select_related("project", "tenant").filter(pk=job_id).first()
        if job is None or (what := job.blocked_by or job.state) not in SAID:
            return False
        member = Member.objects.select_related("user").filter(user_id=job.mail_to, user__is_active=True).first()
        if member is not None and job.key_id is None and not member.user.job_mail:
            return False  # switched off since the job was started
        said = what if job.is_final else f"{what} {job.attempt}"
        if member is None or not Job.objects.filter(pk=job.pk).exclude(mailed=said).update(mailed=said):
            return False
        subject, body = _letter(job, what)
    try:
        send_mail(subject, body, None, [member.user.email])
    except OSError:  # smtplib's errors and time-outs are all OSErrors
        with tenant_scope(tenant_id):
            Job.objects.filter(pk=job_id, mailed=said).update(mailed="")
        raise
    return True


def _letter(job: Job, what: str) -> tuple[str, str]:
    """Subject and body."""
    name = job.suffix or job.public_id
    lines = {
        states.SUCCEEDED: _succeeded,
        states.FAILED: lambda job: [job.error_message, _("You were not charged.")],
        states.BUDGET: lambda job: [
            _("It reached its price ceiling of %s and stopped with a checkpoint.") % usd(job.ceiling_nano),
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
    home = f"{settings.BASE_URL}/o/{job.tenant.slug}"
    link = f"{home}/p/{job.project.slug}/jobs/{job.public_id}/"
    if job.key_id is None:
        foot = _("You get this mail because you started the job. Switch it off under your account: %s")
        foot %= f"{settings.BASE_URL}/account/"
    else:
        foot = _("You get this mail because a key that you made asked for it (x_email_on_end).")
    return subject, "\n\n".join([*lines, link, foot]) + "\n"


def _succeeded(job: Job) -> list[str]:
    version = ModelVersion.objects.filter(pk=job.model_version_id).first()
    lines = [_("Model: %s") % job.model_name]
    accuracy = (version.metrics or {}).get("accuracy") if version is not None else None
    if accuracy is not None:
        lines.append(_("Accuracy on the test rows, which it never saw: %.1f %%") % (100 * accuracy))
    lines.append(_("It cost %s.") % usd(job.price_nano))
    return lines
