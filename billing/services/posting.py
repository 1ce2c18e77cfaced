"""The one way into the ledger: balanced transactions, each written once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from billing.errors import LedgerError
from billing.models import Account, LedgerEntry, LedgerTransaction
from tenants.scope import current_tenant_id


def ledger_post(
    *, kind: str, key: str, entries: Mapping[str, int], memo: str = "", detail: Mapping[str, Any] | None = None
) -> LedgerTransaction:
    """Write one transaction in the caller's scope: account -> nano-USD, debits positive, credits negative.

    The same kind and key again returns the first transaction and writes nothing. LedgerError when it does not balance.
    """
    amounts = {Account(account): amount for account, amount in entries.items() if amount}
    if not amounts or sum(amounts.values()) != 0:
        raise LedgerError(f"{kind} {key} does not balance: {dict(entries)}")
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
