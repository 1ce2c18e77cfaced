"""Keeping what is not as it must be: seen first and last, and how it was settled."""

import dataclasses
import logging
from collections.abc import Iterable
from uuid import UUID

from django.db import transaction

from billing.models import BillingFinding, StripeCommand
from billing.selectors import invariants
from billing.services.operations import OPERATIONS
from kit.clock import now
from kit.errors import BadRequest, NotFound
from tenants.scope import OPS, ops_scope

logger = logging.getLogger(__name__)

LOOK = "look"


@dataclasses.dataclass(frozen=True, slots=True)
class Seen:
    """One difference as a look saw it."""

    kind: str
    object: str
    expected: str
    found: str
    organisation: UUID | None = None


def findings_note(source: str, seen: Iterable[Seen]) -> int:
    """Keep what a whole look of one source (`books`, `stripe`, `command`) saw; what it no longer sees is settled. How
    many are open."""
    rows = {(one.kind, one.object[:300]): one for one in seen}
    moment = now()
    with transaction.atomic(using=OPS):
        known = {
            (row.kind, row.object): row
            for row in BillingFinding.objects.select_for_update().filter(
                kind__startswith=f"{source}.", resolved_at=None
            )
        }
        for key, one in rows.items():
            row = known.pop(key, None) or BillingFinding(kind=key[0], object=key[1], first_seen=moment)
            if row.pk is None:
                logger.error("finding %s: %s: expected %s, found %s", one.kind, one.object, one.expected, one.found)
            row.organisation, row.last_seen = one.organisation, moment
            row.expected, row.found = one.expected[:500], one.found[:500]
            row.save()
        for gone in known.values():
            _settle(gone, LOOK, "No longer so at the next look.")
    return len(rows)


def _settle(row: BillingFinding, by: str, why: str) -> None:
    row.resolved_at, row.resolved_by, row.resolution = now(), by, why[:300]
    row.save(update_fields=["resolved_at", "resolved_by", "resolution"])


def finding_resolve(*, finding_id: int, by: str, reason: str) -> BillingFinding:
    """Settle a finding by hand. Where it is still so, the next look opens another one."""
    if not reason.strip():
        raise BadRequest("Say how it was settled: a reason is needed.", param="reason")
    row = BillingFinding.objects.filter(pk=finding_id).first()
    if row is None:
        raise NotFound.of(finding_id)
    if row.resolved_at is None:
        _settle(row, by, reason.strip())
    return row


def books_look() -> int:
    """The nightly invariants, kept as findings; how many are open."""
    rules = {check.__name__: (check.__doc__ or "").partition("\n")[0] for check in invariants.CHECKS}
    return findings_note(
        "books",
        (
            Seen(f"books.{one.check}", f"{one.tenant_id} {one.message}", rules[one.check], one.message, one.tenant_id)
            for one in invariants.findings(None)
        ),
    )


def commands_look() -> int:
    """Commands to Stripe that need a person: in doubt, refused with nobody at a page, or long on their way."""

    state = StripeCommand.State
    unseen = [name for name, operation in OPERATIONS.items() if not operation.shown]
    seen = []
    with ops_scope("commands to Stripe that need a person"):
        stuck = StripeCommand.ops.filter(state__in=(state.WAITING, state.REFUSED, state.DOUBT)).order_by("created_at")
        for row in stuck.iterator():
            late = row.state == state.WAITING and (now() - row.created_at).total_seconds() > 3600
            if row.state == state.DOUBT or late or (row.state == state.REFUSED and row.operation in unseen):
                told = f"{row.operation} {row.state}: {row.error}"
                seen.append(Seen(f"command.{row.state}", row.public_id, "carried out", told, row.tenant_id))
    return findings_note("command", seen)
