"""The one way into the ledger: balanced transactions, each written once."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from billing.errors import LedgerError
from billing.models import Account, LedgerEntry, LedgerTransaction
from tenants.scope import current_tenant_id


def ledger_post(
    *, kind: str, key: str, entries: Mapping[str, int], memo: str = "", detail: Mapping[str, Any] | None = None
) -> LedgerTransaction:
    """Write one transaction in the caller's scope: account -> nano, debits positive, credits negative.

    The same kind and key again returns the first transaction and writes nothing. LedgerError when it does not balance.
    """
    amounts = _amounts(kind, key, entries)
    tenant_id = current_tenant_id()
    row = LedgerTransaction(tenant_id=tenant_id, kind=kind, key=key, memo=memo, detail=dict(detail or {}))
    LedgerTransaction.objects.bulk_create([row], ignore_conflicts=True)
    stored: LedgerTransaction = LedgerTransaction.objects.get(kind=kind, key=key)
    if stored.pk == row.pk:
        LedgerEntry.objects.bulk_create(
            [
                LedgerEntry(tenant_id=tenant_id, transaction=row, account=account, amount_nano=amount)
                for account, amount in amounts.items()
            ]
        )
    return stored


def _amounts(kind: str, key: str, entries: Mapping[str, int]) -> dict[Account, int]:
    amounts = {Account(account): amount for account, amount in entries.items() if amount}
    if not amounts or sum(amounts.values()) != 0:
        raise LedgerError(f"{kind} {key} does not balance: {dict(entries)}")
    return amounts


@dataclasses.dataclass(frozen=True, slots=True)
class Posting:
    """One transaction of a tenant before it is written. LedgerError when it does not balance."""

    tenant_id: uuid.UUID
    kind: str
    key: str
    entries: Mapping[str, int]
    memo: str = ""
    detail: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        _amounts(self.kind, self.key, self.entries)


def ledger_post_many(postings: Iterable[Posting]) -> None:
    """Write transactions of many tenants in the ops role's transaction; IntegrityError where one is there already."""
    rows, entries = [], []
    for one in postings:
        row = LedgerTransaction(
            tenant_id=one.tenant_id, kind=one.kind, key=one.key, memo=one.memo, detail=dict(one.detail)
        )
        rows.append(row)
        entries += [
            LedgerEntry(tenant_id=one.tenant_id, transaction=row, account=account, amount_nano=amount)
            for account, amount in _amounts(one.kind, one.key, one.entries).items()
        ]
    LedgerTransaction.ops.bulk_create(rows)
    LedgerEntry.ops.bulk_create(entries)
