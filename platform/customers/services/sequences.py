"""Sending the hints that are due, each once to each owner who takes them. A tick looks; nothing has to ring it."""

import datetime as dt
import logging
from collections import defaultdict
from uuid import UUID

from django.conf import settings
from django.db.models import Count, Q, Sum
from django.utils.translation import gettext as _

from billing.models import TenantEntitlement, UsageHour
from billing.plans import plan_book
from billing.prices import NOT_CALLS
from customers import sequences
from customers.models import Contact
from customers.sequences import Facts, due
from customers.services.contacts import unsubscribe_link
from customers.services.mailing import Draft, letter_send
from kit.clock import now
from registry.models import Model
from tenants.models import Member, Role, Tenant, User
from tenants.scope import OPS, ops_scope

logger = logging.getLogger(__name__)

KIND = "hint"
MOST = 2_000
"""Organisations that one tick looks at, those with the latest sign-up first."""


def sequences_send() -> int:
    """Send what is due; how many mails went. Safe to run twice at once. A mail server that refuses ends the run, and
    the next tick goes on."""
    with ops_scope("find who is due a hint"):
        tenants = _candidates()
        wanted = {pk: due(facts, now()) for pk, facts in _facts(tenants).items()}
        owners = _owners([pk for pk, hints in wanted.items() if hints])
    sent = 0
    for tenant in tenants:
        for user in owners.get(tenant.pk, []):
            for hint in wanted[tenant.pk]:
                try:
                    sent += letter_send(tenant_id=tenant.pk, draft=_draft(hint, tenant, user))
                except OSError:
                    logger.exception("a hint could not be mailed; the next tick tries again")
                    return sent
    return sent


def _candidates() -> list[Tenant]:
    """Active organisations of which something may be due."""
    moment = now()
    using = UsageHour.ops.filter(hour__gte=_month(), cost_nano__gt=0)
    paying = TenantEntitlement.ops.exclude(plan=plan_book().free.code)
    rows = Tenant.ops.filter(status=Tenant.Status.ACTIVE).filter(
        Q(created_at__gt=moment - sequences.LATEST)
        | (Q(pk__in=using.values("tenant_id")) & ~Q(pk__in=paying.values("tenant_id")))
    )
    return list(rows.order_by("-created_at")[:MOST])


def _month() -> dt.datetime:
    return now().astimezone(dt.UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _facts(tenants: list[Tenant]) -> dict[UUID, Facts]:
    ids = [row.pk for row in tenants]
    free = plan_book().free
    models = dict(Model.ops.filter(tenant__in=ids).order_by().values_list("tenant_id").annotate(n=Count("pk")))
    hours = UsageHour.ops.filter(tenant__in=ids).order_by()
    made = hours.filter(hour__gte=now() - sequences.LATEST).exclude(kind__in=NOT_CALLS)
    calls = dict(made.values_list("tenant_id").annotate(n=Sum("requests")))
    used = dict(hours.filter(hour__gte=_month()).values_list("tenant_id").annotate(n=Sum("cost_nano")))
    plans = {row.tenant_id: row for row in TenantEntitlement.ops.filter(tenant__in=ids)}

    def known(row: Tenant) -> Facts:
        plan = plans.get(row.pk)
        return Facts(
            signed_up=row.created_at,
            models=models.get(row.pk, 0),
            calls=int(calls.get(row.pk) or 0),
            free=plan is None or plan.plan == free.code,
            used_nano=int(used.get(row.pk) or 0),
            allowance_nano=plan.allowance["usage_nano"] if plan else free.allowance_nano,
        )

    return {row.pk: known(row) for row in tenants}


def _owners(ids: list[UUID]) -> dict[UUID, list[User]]:
    """Who is to hear of each: owners who can sign in and take hints."""
    refused = Contact.objects.using(OPS).filter(news_off_at__isnull=False).values("user_id")
    seats = Member.ops.filter(tenant__in=ids, role=Role.OWNER, user__is_active=True).exclude(user__in=refused)
    found: dict[UUID, list[User]] = defaultdict(list)
    for seat in seats.select_related("user").order_by("created_at"):
        found[seat.tenant_id].append(seat.user)
    return found


def _draft(hint: str, tenant: Tenant, user: User) -> Draft:
    home = f"{settings.BASE_URL}/o/{tenant.slug}/"
    subject, text, link = {
        sequences.WELCOME: (
            _("Welcome to Tunesmith"),
            _(
                "Your organisation is there. A first model takes some minutes: upload a file of examples, or take the "
                "sample, look at what is found in it, and start a job. Its price is shown before it starts."
            ),
            home,
        ),
        sequences.FIRST_MODEL: (
            _("Your first model"),
            _(
                "You signed up three days ago and have no model yet. If your data is what holds you up: a CSV with a "
                "text and a label in each row is enough, and every problem in it is listed with its row."
            ),
            home,
        ),
        sequences.FIRST_CALL: (
            _("Call your model"),
            _(
                "Your model is made, and no program has called it yet. Deploying costs nothing while nobody calls, and "
                "the playground shows the call to copy."
            ),
            home,
        ),
        sequences.ALLOWANCE_NEAR: (
            _("Most of this month's free usage is used"),
            _("%(percent)d %% of what the free plan includes this month is used. Under Billing you see what is left.")
            % {"percent": sequences.NEAR_PERCENT},
            f"{home}billing/",
        ),
    }[hint]
    stop = unsubscribe_link(user.pk)
    foot = _("You get this mail because you own %(name)s. No more hints: %(link)s") % {
        "name": tenant.name,
        "link": stop,
    }
    headers = {
        "List-Unsubscribe": f"<{stop}>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",  # RFC 8058
        "Auto-Submitted": "auto-generated",
    }
    return Draft(KIND, hint, user.email, subject, "\n\n".join([text, link, foot]) + "\n", headers)
