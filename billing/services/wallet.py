"""How far a tenant may go on account, beyond its credit. In the tenant's scope."""

from __future__ import annotations

from billing.models import Wallet
from billing.selectors.budgets import WALLET
from billing.selectors.wallet import postpaid_nano
from billing.services.limits import budget_changed
from kit.clock import now
from kit.errors import BadRequest
from kit.money import LIMIT, usd
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


def _set(field: str, nano: int | None, *, action: str, reason: str) -> Wallet:
    if nano is not None and (not isinstance(nano, int) or isinstance(nano, bool) or not 0 <= nano <= LIMIT):
        raise BadRequest(f"What may be owed must be from $0 to {usd(LIMIT)}, or nothing.", param="postpaid")
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
