"""Where the staff console's own stylesheet and icon stand, and what its side bar leads to."""

from typing import Any

from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse
from django.utils.translation import gettext as _


def stylesheet(request: HttpRequest) -> str:
    """Hashed in production, so it is asked for at render time."""
    return static("ops/staff.css")


def icon(request: HttpRequest) -> str:
    """The mark, in the browser's tab."""
    return static("icons/mark.svg")


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """What staff open daily; every other table stands behind "All applications"."""
    return [
        {"title": "", "items": [_item(_("Dashboard"), "dashboard", "index"), _item(_("Fleet"), "dns", "fleet")]},
        {
            "title": _("Customers"),
            "separator": True,
            "items": [
                _item(_("Tenants"), "apartment", "tenants_tenant_changelist"),
                _item(_("People"), "group", "tenants_user_changelist"),
                _item(_("Overrides"), "tune", "billing_entitlementoverride_changelist"),
            ],
        },
        {
            "title": _("Work"),
            "separator": True,
            "items": [
                _item(_("Jobs"), "model_training", "training_job_changelist"),
                _item(_("Deployments"), "rocket_launch", "serving_deployment_changelist"),
                _item(_("Files"), "description", "data_file_changelist"),
            ],
        },
        {
            "title": _("Money"),
            "separator": True,
            "items": [
                _item(_("Subscriptions"), "autorenew", "billing_subscription_changelist"),
                _item(_("Invoices"), "receipt_long", "billing_invoice_changelist"),
                _item(_("Ledger"), "account_balance", "billing_ledgertransaction_changelist"),
                _item(_("Webhooks"), "webhook", "billing_stripeevent_changelist"),
            ],
        },
        {
            "title": _("Records"),
            "separator": True,
            "items": [
                _item(_("Audit log"), "history", "tenants_auditevent_changelist"),
                _item(_("Staff actions"), "policy", "ops_staffaction_changelist"),
            ],
        },
    ]


def _item(title: str, icon_name: str, page: str) -> dict[str, Any]:
    return {"title": title, "icon": icon_name, "link": reverse(f"admin:{page}")}
