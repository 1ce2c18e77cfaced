"""Mail to an organisation's owners and admins about what happened to a deployment by itself. Sent after the commit."""

from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from django.utils.translation import gettext as _

from serving.models import Deployment, Rollout
from tenants.models import Member, Project, Role
from tenants.selectors import tenant_current

TOLD = (Role.OWNER, Role.ADMIN)


def tell_rolled_back(rollout: Rollout) -> None:
    """A rollout was rolled back by its own guards."""
    subject = _("%(alias)s: the candidate was rolled back") % {"alias": rollout.alias}
    text = _(
        "The rollout on %(alias)s was rolled back by itself: all callers get the stable version again.\n"
        "Reason: %(reason)s\n\nIts figures and events:"
    ) % {"alias": rollout.alias, "reason": rollout.reason}
    _mail(rollout.project, subject, text, f"rollouts/{rollout.public_id}/")


def tell_idle(deployment: Deployment, days: int) -> None:
    """Nobody called a deployment for days; it may have been stopped for that."""
    name = deployment.model.suffix or deployment.model.name
    values = {"name": name, "days": days}
    subject = _("Nobody has called %(name)s for %(days)s days") % values
    if deployment.state == Deployment.State.STOPPED:
        text = _("Its deployment was stopped, as your project's rule says. Deploy it again with one click:")
    else:
        text = _("Its deployment is still live. Stop it, or leave it as it is:")
    _mail(deployment.project, subject, text, f"deployments/{deployment.public_id}/")


def tell_halted(deployment: Deployment) -> None:
    """A spend limit no longer carries a deployment's own engines."""
    name = deployment.model.suffix or deployment.model.name
    subject = _("%(name)s: its own engines were stopped at a spend limit") % {"name": name}
    text = _(
        "A monthly spend limit no longer carries the engines of its own. They were stopped, and calls of this model "
        "are refused until the limit is raised under Billing or the next month begins. Nothing beyond the limit is "
        "charged. You can also go back to the shared engines on its page:"
    )
    _mail(deployment.project, subject, text, f"deployments/{deployment.public_id}/")


def _mail(project: Project, subject: str, text: str, path: str) -> None:
    link = f"{settings.BASE_URL}/o/{tenant_current().slug}/p/{project.slug}/{path}"
    seats = Member.objects.filter(role__in=TOLD, user__is_active=True).select_related("user")
    for address in [seat.user.email for seat in seats]:
        transaction.on_commit(
            lambda to=address: send_mail(subject, f"{text}\n{link}\n", None, [to]),  # type: ignore[misc]
            robust=True,
        )
