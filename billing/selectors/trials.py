"""Who may have a trial, and how one ended. In the tenant's scope."""

from __future__ import annotations

import datetime as dt

from django.utils.crypto import salted_hmac

from billing.models import Subscription, TrialMark, TrialTaken
from billing.plans import Plan, Trial
from billing.selectors.subscriptions import LIVE, PAUSED, customer_current
from kit.clock import now
from tenants.models import Member, Role
from tenants.scope import current_tenant_id

SHOWN = dt.timedelta(days=30)
"""How long a page says how a trial ended."""
ONE_MAILBOX = ("gmail.com", "googlemail.com")
"""Where dots in an address mean nothing."""


def trial_due(plan: Plan) -> Trial | None:
    """The trial that the scope's organisation gets with a plan: once, with its first subscription, and not where one of
    its owners had one with another organisation."""
    begun = Subscription.objects.exclude(status__in=("incomplete", "incomplete_expired"))
    if plan.trial is None or begun.exists():
        return None
    return None if trials_of_others(owner_digests()) else plan.trial


def trials_of_others(digests: list[str]) -> list[str]:
    """The kinds of marks (`owner`, `card`) among these that another organisation left."""
    marks = TrialMark.objects.filter(digest__in=digests).exclude(organisation=current_tenant_id())
    return sorted(set(marks.values_list("kind", flat=True)))


def owner_digests() -> list[str]:
    """Of the addresses of the organisation's owners."""
    emails = Member.objects.filter(role=Role.OWNER).values_list("user__email", flat=True)
    return sorted({digest_of("owner", mailbox(email)) for email in emails})


def card_digests(subscription: Subscription) -> list[str]:
    """Of the card that a subscription is paid with, where Stripe knows one."""
    return method_digests(subscription.raw.get("default_payment_method"))


def method_digests(method: object) -> list[str]:
    """Of the card of a way to pay, as Stripe tells it."""
    card = (method.get("card") or {}) if isinstance(method, dict) else {}
    return [digest_of("card", card["fingerprint"])] if card.get("fingerprint") else []


def digest_of(kind: str, text: str) -> str:
    """A keyed digest: the same text gives the same, and the text cannot be had back by trying addresses."""
    return salted_hmac(f"billing.trial.{kind}", text, algorithm="sha256").hexdigest()


def mailbox(email: str) -> str:
    """An address without what its owner can change at will: capitals, what follows a plus, dots where they mean
    nothing."""
    name, _, domain = email.strip().lower().rpartition("@")
    name = name.split("+", 1)[0]
    if domain in ONE_MAILBOX:
        return f"{name.replace('.', '')}@{ONE_MAILBOX[0]}"
    return f"{name}@{domain}"


def card_known(subscription: Subscription) -> bool:
    """Whether a subscription can be paid: it, or its customer, has a card."""
    customer = customer_current()
    return bool(subscription.raw.get("default_payment_method")) or (customer is not None and customer.card is not None)


def trial_lapsed() -> Subscription | None:
    """The subscription that ended with its trial, because no card was known; None where there is another by now, or it
    was long ago."""
    last: Subscription | None = Subscription.objects.order_by("-started_at", "-pk").first()
    if last is None or last.status != "canceled" or last.trial_end is None or last.ended_at is None:
        return None
    asked = (last.raw.get("cancellation_details") or {}).get("reason") == "cancellation_requested"
    with_it = abs(last.ended_at - last.trial_end) < dt.timedelta(days=1)
    return last if with_it and not asked and last.ended_at > now() - SHOWN else None


def trial_refused() -> TrialTaken | None:
    """The trial that was not given, as long as nothing was bought since; None otherwise."""
    if Subscription.objects.filter(status__in=(*LIVE, PAUSED)).exists():
        return None
    last: TrialTaken | None = TrialTaken.objects.order_by("-begun_at").first()
    return last if last is not None and last.refused and last.begun_at > now() - SHOWN else None
