"""Routes of the room's public API, under /v1/."""

from django.urls import path

from billing.api import CostsView, UsageView
from billing.limits_api import DecisionsView, LimitsView, OrganizationLimitsView
from billing.schema import KINDS, UNUSED
from billing.wallet_api import WalletView

urlpatterns = [
    *(path(f"organization/usage/{kind}", UsageView.as_view(), {"kind": kind}) for kind in (*KINDS, *sorted(UNUSED))),
    path("organization/costs", CostsView.as_view()),
    path("organization/limits", OrganizationLimitsView.as_view()),
    path("limits", LimitsView.as_view()),
    path("limits/decisions", DecisionsView.as_view()),
    path("billing/wallet", WalletView.as_view()),
]
