"""Where the staff console's own stylesheet and icon stand, and what its side bar leads to."""

from typing import Any

from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse
from django.utils.translation import gettext_lazy as _


def stylesheet(request: HttpRequest) -> str:
    """Hashed in production, so it is asked for at render time."""
    return static("ops/staff.css")


def icon(request: HttpRequest) -> str:
    """The mark, in the browser's tab."""
    return static("icons/mark.svg")


PAGES: tuple[tuple[Any, tuple[tuple[Any, str, str], ...]], ...] = (
    (
        "",
        (
            (_("Dashboard"), "dashboard", "index"),
            (_("Fleet"), "dns", "fleet"),
            (_("Queue"), "format_list_numbered", "queue"),
        ),
    ),
    (
        _("Customers"),
        (
            (_("Customers"), "handshake", "customers"),
            (_("Support"), "support_agent", "support"),
            (_("Announcements"), "campaign", "announcements"),
            (_("Satisfaction"), "sentiment_satisfied", "satisfaction"),
            (_("Tenants"), "apartment", "tenants_tenant_changelist"),
            (_("People"), "group", "tenants_user_changelist"),
            (_("Overrides"), "tune", "billing_entitlementoverride_changelist"),
        ),
    ),
    (
        _("Work"),
        (
            (_("Jobs"), "model_training", "training_job_changelist"),
            (_("Deployments"), "rocket_launch", "serving_deployment_changelist"),
            (_("Files"), "description", "data_file_changelist"),
            (_("Orders"), "request_quote", "orders_order_changelist"),
        ),
    ),
    (
        _("Money"),
        (
            (_("Subscriptions"), "autorenew", "billing_subscription_changelist"),
            (_("Invoices"), "receipt_long", "billing_invoice_changelist"),
            (_("Ledger"), "account_balance", "billing_ledgertransaction_changelist"),
            (_("Credit"), "redeem", "billing_creditgrant_changelist"),
            (_("Webhooks"), "webhook", "billing_stripeevent_changelist"),
            (_("Economics"), "monitoring", "economics"),
            (_("Replay webhooks"), "replay", "replay"),
            (_("Asked of Stripe"), "outbox", "billing_stripecommand_changelist"),
            (_("Findings"), "rule", "billing_billingfinding_changelist"),
            (_("Planner"), "calculate", "planner"),
        ),
    ),
    (
        _("Records"),
        (
            (_("Audit log"), "history", "tenants_auditevent_changelist"),
            (_("Staff actions"), "policy", "ops_staffaction_changelist"),
        ),
    ),
)
"""What staff open daily, by group: title, icon, page. Every other table stands behind "All applications"."""


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """The side bar, as Unfold wants it; a group with a title has a line above it."""
    return [
        {
            "title": group,
            "separator": bool(group),
            "items": [
                {"title": title, "icon": icon_name, "link": reverse(f"admin:{page}")}
                for title, icon_name, page in items
            ],
        }
        for group, items in PAGES
    ]
