"""Trials: taken once, announced before they end. All functions run in the tenant's scope."""

from __future__ import annotations

from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from billing.models import Subscription, TrialMark, TrialTaken
from billing.plans import plan_book
from billing.selectors.items import interval_of, seats_bought
from billing.selectors.subscriptions import customer_current
from billing.selectors.trials import card_digests, card_known, owner_digests, trials_of_others
from billing.services import mirror
from billing.services.alerts import TOLD_OF_ALL
from billing.services.commands import command_write
from billing.services.locks import money_lock
from kit.clock import now
from kit.money import currency, price
from tenants import audit
from tenants.models import Member
from tenants.scope import current_tenant_id
from tenants.selectors import tenant_current

TASK = mirror.TRIAL_BEGUN
ENDING = "customer.subscription.trial_will_end"
"""Stripe's event, three days before a trial's end."""


def trial_begun(*, subscription_id: str) -> TrialTaken | None:
    """Note whose trial a subscription began with, once. Where one of its owners, or its card, has had one with another
    organisation, it is ended at once; nothing was charged. None for a subscription that is on no trial."""
    money_lock(current_tenant_id())
    known = TrialTaken.objects.filter(subscription=subscription_id).first()
    row: Subscription | None = Subscription.objects.filter(stripe_id=subscription_id).first()
    if known is not None or row is None or row.status != "trialing":
        return known
    owners, cards = owner_digests(), card_digests(row)
    marks = [("owner", digest) for digest in owners] + [("card", digest) for digest in cards]
    # Of two organisations that begin at the same moment, the database lets one leave the mark.
    TrialMark.objects.bulk_create(
        [TrialMark(kind=kind, digest=digest, organisation=current_tenant_id()) for kind, digest in marks],
        ignore_conflicts=True,
    )
    had = trials_of_others([*owners, *cards])
    taken: TrialTaken = TrialTaken.objects.create(
        subscription=subscription_id,
        plan=row.plan,
        plan_version=row.plan_version,
        ends_at=row.trial_end,
        refused="owner" if "owner" in had else "card" if had else "",
    )
    if had:
        TrialMark.objects.filter(organisation=current_tenant_id(), digest__in=[digest for _, digest in marks]).delete()
        command_write("trial_refuse", {"subscription": subscription_id}, once=f"trial_refuse:{subscription_id}")
        audit.record(action="trial.refused", target=row, after={"had": had}, actor=audit.SYSTEM)
    else:
        audit.record(action="trial.begun", target=row, actor=audit.SYSTEM)
    return taken


def trial_remind(*, subscription_id: str) -> int:
    """Say once by mail that a trial ends in three days, and what follows; how many mails go."""
    taken = trial_begun(subscription_id=subscription_id)
    row = Subscription.objects.filter(stripe_id=subscription_id, status="trialing", trial_end__gt=now()).first()
    if taken is None or row is None or taken.refused or taken.reminded_at is not None:
        return 0
    if (row.plan, row.plan_version) not in plan_book().plans:
        return 0  # made by staff at Stripe, with a price of no plan
    taken.reminded_at = now()
    taken.save(update_fields=["reminded_at"])
    subject, text = _words(row)
    people = Member.objects.filter(role__in=TOLD_OF_ALL).values_list("user__email", flat=True)
    for address in people:
        transaction.on_commit(
            lambda to=address: send_mail(subject, text, None, [to]),  # type: ignore[misc]
            robust=True,
        )
    return len(people)


def _words(row: Subscription) -> tuple[str, str]:
    tenant, plan = tenant_current(), plan_book().get(row.plan, row.plan_version)
    values = {
        "plan": plan.name,
        "whose": tenant.name,
        "day": date_format(row.trial_end, "j F Y") if row.trial_end else "",
        "then": then_charged(row),
    }
    if row.cancel_at_period_end:
        then = _("The plan was ended, so nothing is charged; the free plan applies from then on.")
    elif card_known(row):
        customer = customer_current()
        card = customer.card if customer is not None else None
        values["card"] = f"{card['brand']} {card['last4']}" if card else _("the card on file")
        then = _("Then %(then)s is charged to %(card)s. To prevent that, end the plan under Billing before.") % values
    else:
        then = _("No card is known, so the plan then ends and the free plan applies.")
        if plan.trial is not None and plan.trial.at_end == "pause":
            then = _("No card is known, so the plan then rests and the free plan applies.")
        then = f"{then} {_('Add a card under Billing; then it goes on for %(then)s.') % values}"
    subject = _("The trial of %(plan)s ends on %(day)s") % values
    first = _("The trial of the plan %(plan)s for %(whose)s ends on %(day)s.") % values
    return subject, "\n\n".join([first, then, f"{settings.BASE_URL}/o/{tenant.slug}/billing/\n"])


def then_charged(row: Subscription) -> str:
    """What a subscription costs after its trial, seats included, in words: `$29 a month`."""
    plan, interval = plan_book().get(row.plan, row.plan_version), interval_of(row)
    paid_in = currency()
    cents = (plan.price(interval, paid_in) or 0) + (plan.seat_price(interval, paid_in) or 0) * seats_bought(row)
    amount = price(cents, paid_in)
    return (_("%(amount)s a year") if interval == "year" else _("%(amount)s a month")) % {"amount": amount}
