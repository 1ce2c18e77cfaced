"""The ledger: double entry, nano, append-only. The database refuses changes and unbalanced transactions."""

from django.db import models

from kit.clock import now
from tenants.models import LastingModel


class Account(models.TextChoices):
    """Accounts every tenant has. Debits are positive, credits negative."""

    UNBILLED = "unbilled"
    """Used, priced, not yet on an invoice."""
    RECEIVABLE = "receivable"
    """On an invoice, not yet paid."""
    CASH = "cash"
    """Paid through Stripe, its fees not taken off."""
    BANK = "bank"
    """Paid past Stripe: by bank transfer or cheque."""
    USAGE_REVENUE = "usage_revenue"
    SUBSCRIPTION_REVENUE = "subscription_revenue"
    CONTRACT_REVENUE = "contract_revenue"
    """Custom models made to order."""
    ALLOWANCE = "allowance"
    """Usage the plan includes: taken off the invoice."""
    ROUNDING = "rounding"
    """Parts of a cent between exact prices and invoices in cents."""
    TAX = "tax"
    """Collected for the state, not ours."""
    DISCOUNT = "discount"
    """Coupons and promotions: taken off revenue."""
    CREDIT = "credit"
    """Revenue taken back by credit notes, void invoices and goodwill."""
    REFUND = "refund"
    """Money given back that no credit note explains."""
    CUSTOMER_BALANCE = "customer_balance"
    """What the customer has with Stripe for its next invoices."""
    DISPUTE = "dispute"
    """Held by a bank while a payment is disputed."""
    BAD_DEBT = "bad_debt"
    """Invoices given up, and disputes lost."""
    PREPAID = "prepaid"
    """Credit that was bought and is not used: ours to render."""
    PROMO = "promo"
    """Credit that was given and is not used."""
    BREAKAGE = "breakage"
    """Credit that was bought and ended unused."""
    CREDIT_SOLD = "credit_sold"
    """Credit on an invoice that is not in the wallet yet: it comes when the invoice is paid."""


class LedgerTransaction(LastingModel):
    """One movement of money. Its entries sum to zero."""

    prefix = "ltx_"

    kind = models.CharField(max_length=40)
    key = models.CharField(max_length=200)
    """What caused it; a second transaction of the same kind and key cannot exist."""
    memo = models.CharField(max_length=300, blank=True)
    detail = models.JSONField(default=dict)
    at = models.DateTimeField(default=now, editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "kind", "key"], name="billing_ledger_once")]
        indexes = [models.Index(fields=["tenant", "-at"], name="billing_ledger_recent")]

    def __str__(self) -> str:
        return f"{self.kind} {self.key}"


class LedgerEntry(LastingModel):
    """One side of a transaction."""

    transaction = models.ForeignKey(LedgerTransaction, on_delete=models.PROTECT, related_name="entries")
    account = models.CharField(max_length=30, choices=Account.choices)
    amount_nano = models.BigIntegerField()
    """Positive debits, negative credits."""

    class Meta:
        indexes = [models.Index(fields=["tenant", "account"], name="billing_entry_account")]
        constraints = [
            models.CheckConstraint(condition=~models.Q(amount_nano=0), name="billing_entry_not_zero"),
        ]

    def __str__(self) -> str:
        return f"{self.account} {self.amount_nano}"


class PeriodClose(LastingModel):
    """The bill of one closed month: what was used, what the plan included, what is due. Written once."""

    prefix = "close_"

    period = models.DateField()
    """First day of the month, UTC."""
    usage_nano = models.BigIntegerField()
    allowance_nano = models.BigIntegerField()
    drawn_nano = models.BigIntegerField(default=0, db_default=0)
    """What credit had paid of it."""
    drawn = models.JSONField(default=dict, db_default={})
    """The same by the month whose usage was paid for (`2026-10`): draws of these months that are on this bill."""
    net_nano = models.BigIntegerField()
    lines = models.JSONField()
    """[{"key", "description", "quantity", "unit", "amount_nano"}], the allowance and credit last; they sum to
    `net_nano`."""
    closed_at = models.DateTimeField(default=now, editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "period"], name="billing_close_once")]

    def __str__(self) -> str:
        return f"{self.period:%Y-%m}"


class Booked(LastingModel):
    """A mirror of something at Stripe that moves money. Whoever writes new facts into it empties `booked_at`."""

    booked_at = models.DateTimeField(null=True)
    """When the ledger was brought up to it; empty while that is still to do."""
    problem = models.CharField(max_length=300, blank=True, db_default="", default="")
    """Why nothing of it can be booked; staff are told."""
    raw = models.JSONField(default=dict)
    fetched_at = models.DateTimeField(default=now)

    class Meta:
        abstract = True
