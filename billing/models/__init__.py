"""The room's tables."""

from billing.models.bill_shares import BillLineShare
from billing.models.budgets import (
    Budget,
    BudgetLease,
    JobHold,
    MemberLimits,
    ModelLimits,
    ProjectLimits,
    SpendLimit,
)
from billing.models.catalogue import CatalogueEntry
from billing.models.commands import StripeCommand
from billing.models.decisions import QuotaDecision
from billing.models.dunning import DunningHold, DunningNotice
from billing.models.economics import AcquisitionSpend, MachineHour, SubscriptionChange, SubscriptionMonth
from billing.models.findings import BillingFinding
from billing.models.ledger import Account, LedgerEntry, LedgerTransaction, PeriodClose
from billing.models.metering import DirtyHour, RatedLine, UsageDispute, UsageEvent, UsageHour
from billing.models.meters import BillSink, MeterReading
from billing.models.rerating import RatedChange, Rerating
from billing.models.reversals import CreditNote, PaymentDispute, Refund
from billing.models.subscriptions import (
    AllowanceChange,
    BillingCustomer,
    EntitlementOverride,
    Invoice,
    InvoiceLinePush,
    Subscription,
    TenantEntitlement,
)
from billing.models.topups import AutoTopUp, TopUp, TopUpConsent
from billing.models.trials import TrialMark, TrialTaken
from billing.models.wallet import CreditDraw, CreditGrant, Wallet
from billing.models.webhooks import StripeEvent

__all__ = [
    "Account",
    "AcquisitionSpend",
    "AllowanceChange",
    "AutoTopUp",
    "BillLineShare",
    "BillSink",
    "BillingCustomer",
    "BillingFinding",
    "Budget",
    "BudgetLease",
    "CatalogueEntry",
    "CreditDraw",
    "CreditGrant",
    "CreditNote",
    "DirtyHour",
    "DunningHold",
    "DunningNotice",
    "EntitlementOverride",
    "Invoice",
    "InvoiceLinePush",
    "JobHold",
    "LedgerEntry",
    "LedgerTransaction",
    "MachineHour",
    "MemberLimits",
    "MeterReading",
    "ModelLimits",
    "PaymentDispute",
    "PeriodClose",
    "ProjectLimits",
    "QuotaDecision",
    "RatedChange",
    "RatedLine",
    "Refund",
    "Rerating",
    "SpendLimit",
    "StripeCommand",
    "StripeEvent",
    "Subscription",
    "SubscriptionChange",
    "SubscriptionMonth",
    "TenantEntitlement",
    "TopUp",
    "TopUpConsent",
    "TrialMark",
    "TrialTaken",
    "UsageDispute",
    "UsageEvent",
    "UsageHour",
    "Wallet",
]
