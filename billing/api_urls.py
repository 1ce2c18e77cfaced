"""Routes of the room's public API, under /v1/."""

from django.urls import path

from billing.api import CostsView, UsageView
from billing.events_api import BudgetsView, EventsCsvView, EventsView, EventView
from billing.invoices_api import DaysCsvView, DaysView, InvoicesView, InvoiceView, MonthsView, MonthView
from billing.limits_api import DecisionsView, LimitsView, OrganizationLimitsView
from billing.schema import KINDS, UNUSED
from billing.subscription_api import (
    PlansView,
    SubscriptionCancelView,
    SubscriptionKeepView,
    SubscriptionPauseView,
    SubscriptionPreviewView,
    SubscriptionResumeView,
    SubscriptionView,
)
from billing.wallet_api import WalletView

urlpatterns = [
    *(path(f"organization/usage/{kind}", UsageView.as_view(), {"kind": kind}) for kind in (*KINDS, *sorted(UNUSED))),
    path("organization/costs", CostsView.as_view()),
    path("organization/limits", OrganizationLimitsView.as_view()),
    path("limits", LimitsView.as_view()),
    path("limits/decisions", DecisionsView.as_view()),
    path("billing/wallet", WalletView.as_view()),
    path("billing/plans", PlansView.as_view()),
    path("billing/subscription", SubscriptionView.as_view()),
    path("billing/subscription/preview", SubscriptionPreviewView.as_view()),
    path("billing/subscription/cancel", SubscriptionCancelView.as_view()),
    path("billing/subscription/keep", SubscriptionKeepView.as_view()),
    path("billing/subscription/pause", SubscriptionPauseView.as_view()),
    path("billing/subscription/resume", SubscriptionResumeView.as_view()),
    path("billing/invoices", InvoicesView.as_view()),
    path("billing/invoices/<str:invoice>", InvoiceView.as_view()),
    path("billing/months", MonthsView.as_view()),
    path("billing/months/<str:month>", MonthView.as_view()),
    path("billing/months/<str:month>/days", DaysView.as_view()),
    path("billing/months/<str:month>/days/csv", DaysCsvView.as_view()),
    path("billing/events", EventsView.as_view()),
    path("billing/events/csv", EventsCsvView.as_view()),
    path("billing/events/<str:event>", EventView.as_view()),
    path("billing/budgets", BudgetsView.as_view()),
]
