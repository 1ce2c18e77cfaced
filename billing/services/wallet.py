"""How far a tenant may go on account, beyond its credit. In the tenant's scope."""

from __future__ import annotations

from functools import partial

from django.db import transaction

from billing.models import Wallet
from billing.selectors.budgets import WALLET
from billing.selectors.wallet import postpaid_nano
from billing.services.effects import limits_changed
from billing.services.limits import budget_changed
from kit.clock import now
from kit.errors import BadRequest
from kit.money import LIMIT, written
from tenants import audit
from tenants.scope import current_tenant_id
from tenants.services.organisations import tenant_turn


def postpaid_set(*, nano: int | None) -> Wallet:
    """What the organisation allows itself to owe in a month (UTC) beyond its credit; 0 stops calls when credit is gone,
    None leaves it to the spend limits. BadRequest for what is no amount."""
    return _set("postpaid_nano", nano, action="wallet.postpaid_changed", reason="")


def postpaid_most_set(*, nano: int | None, reason: str) -> Wallet:
    """What staff allow it to owe at most; None lifts that. BadRequest without a reason."""
    if not reason.strip():
        raise BadRequest("Say why: a reason is needed.", param="reason")
    return _set("postpaid_most_nano", nano, action="wallet.postpaid_most_changed", reason=reason)


def slow_set(*, nano: int | None) -> Wallet:
    """At how much left of credit and what may be owed, or less, calls are slowed to a tenth of their rates; None lifts
    it. BadRequest for what is no amount, or where nothing would stop after it."""
    if nano is not None and (not isinstance(nano, int) or isinstance(nano, bool) or not 0 < nano <= LIMIT):
        raise BadRequest(f"Calls are slowed at more than 0 and at most {written(LIMIT)}, or never.", param="slow_below")
    if nano is not None and postpaid_nano() is None:
        raise BadRequest(
            "Slowing down is before a stop. Say first how much may go on account when credit is used up.",
            param="slow_below",
        )
    tenant_turn()
    row: Wallet = Wallet.objects.first() or Wallet(tenant_id=current_tenant_id())
    before, row.slow_nano, row.changed_at = row.slow_nano, nano, now()
    row.save()
    if before != nano:
        audit.record(
            action="wallet.slow_changed", target=row, before={"slow_nano": before}, after={"slow_nano": nano}
        )  # fmt: skip
        transaction.on_commit(partial(limits_changed, current_tenant_id()))
    return row


def _set(field: str, nano: int | None, *, action: str, reason: str) -> Wallet:
    if nano is not None and (not isinstance(nano, int) or isinstance(nano, bool) or not 0 <= nano <= LIMIT):
        raise BadRequest(f"What may be owed must be from 0 to {written(LIMIT)}, or nothing.", param="postpaid")
    tenant_turn()
    row = Wallet.objects.first() or Wallet(tenant_id=current_tenant_id())
    had, before = postpaid_nano(), getattr(row, field)
    setattr(row, field, nano)
    row.changed_at = now()
    row.save()
    if before != nano:
        audit.record(action=action, target=row, before={field: before}, after={field: nano}, reason=reason)
    has = postpaid_nano()
    if had != has:
        budget_changed(WALLET, current_tenant_id(), had=had is not None, has=has is not None)
    return row
