"""The staff's admin site: its own door. Staff, active, and with a second factor, or it does not open.

Everything inside runs in `ops_scope`, on the database role that row-level security does not bind, rendering included.
"""

from collections.abc import Callable
from functools import update_wrapper
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import logout
from django.contrib.auth.views import redirect_to_login
from django.db import DataError
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.response import SimpleTemplateResponse, TemplateResponse
from django.urls import path, reverse
from django.utils.cache import add_never_cache_headers
from django.utils.translation import gettext as _
from unfold.sites import UnfoldAdminSite

from kit.http import plain
from ops import (
    announcements,
    contracts,
    customers,
    dashboard,
    door,
    economics,
    fleet,
    planner,
    queue,
    satisfaction,
    stripe_tables,
    support,
)
from tenants.scope import ops_scope


class StaffSite(UnfoldAdminSite):
    """`/staff/`."""

    site_header = "Tunesmith staff"
    site_title = "Tunesmith staff"
    index_title = "Dashboard"
    index_template = "ops/index.html"
    enable_nav_sidebar = True
    final_catch_all_view = False
    """Its redirect would tell strangers which addresses exist."""

    def has_permission(self, request: HttpRequest) -> bool:
        """Every condition, once for every request."""
        known: bool | None = getattr(request, "staff_door_open", None)
        if known is None:
            known = request.staff_door_open = door.is_open(request)  # type: ignore[attr-defined]
        return known

    def admin_view(self, view: Callable[..., Any], cacheable: bool = False) -> Callable[..., Any]:
        """Wrap every view of the site in the ops scope, until the page is rendered."""
        guarded = super().admin_view(view, cacheable)

        def inside(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if unreadable(request):
                raise Http404
            try:
                with ops_scope(f"staff console: {request.user.pk}"):
                    response: HttpResponseBase = guarded(request, *args, **kwargs)
                    if isinstance(response, SimpleTemplateResponse) and not response.is_rendered:
                        response.render()
                    return response
            except (DataError, OverflowError):  # such as a filter by a regular expression that is none
                return plain("This filter cannot be read. Go back and change it.", 400)

        return update_wrapper(inside, view)

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponseBase:
        """Turn an account that has just shown its second factor into a staff session.

        Signing in is the product's own; a stranger learns nothing; staff without a second factor set one up.
        """
        response = self._enter(request)
        add_never_cache_headers(response)
        return response

    def _enter(self, request: HttpRequest) -> HttpResponseBase:
        user, wanted = door.account_of(request), self._wanted(request)
        again = f"{reverse('admin:login')}?{urlencode({'next': wanted})}"
        if user is None:
            return redirect_to_login(again)
        if not (user.is_active and user.is_staff):
            raise Http404
        if not door.has_second_factor(user):
            messages.warning(request, _("Staff need a second factor. Set up an authenticator app or a passkey first."))
            return redirect("mfa_index")
        proved = door.proved_at(request, user)
        if not door.is_fresh(proved):
            messages.info(request, _("The staff console asks for a code from your authenticator app, or a passkey."))
            return redirect(f"{door.proof_address(user)}?{urlencode({'next': again})}")
        door.enter(request, user, proved)
        return redirect(wanted)

    def logout(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponseBase:
        """End the staff session; the account stays signed in."""
        if request.method == "POST":
            logout(request)
        return redirect("/")

    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponseBase:
        """Passwords are changed where everybody changes them."""
        return redirect("account_change_password")

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponseBase:
        """The dashboard."""
        answer: HttpResponseBase = super().index(request, {**dashboard.context(), **(extra_context or {})})
        return answer

    def fleet(self, request: HttpRequest) -> HttpResponseBase:
        """Workers, places, jobs, queues, engine: from our own components, under the policy of every product page."""
        headers = {"Content-Security-Policy": settings.CONTENT_SECURITY_POLICY}
        return TemplateResponse(request, "ops/fleet.html", fleet.context(), headers=headers)

    def queue_page(self, request: HttpRequest) -> HttpResponseBase:
        """Every waiting job with its reason, and, of one that is named, what would bring it forward."""
        headers = {"Content-Security-Policy": settings.CONTENT_SECURITY_POLICY}
        asked = {name: request.GET.get(name, "") for name in ("page", "stopped")}
        context = queue.context(request.GET.get("job", ""), **asked)
        return TemplateResponse(request, "ops/queue.html", context, headers=headers)

    def get_urls(self) -> list[Any]:
        """Unfold's own and ours."""
        ours = [
            path("fleet/", self.admin_view(self.fleet), name="fleet"),
            path("queue/", self.admin_view(self.queue_page), name="queue"),
            path("webhooks/replay/", self.admin_view(stripe_tables.replay), name="replay"),
            path("customers/", self.admin_view(customers.page), name="customers"),
            path("customers/<uuid:tenant>/", self.admin_view(customers.customer), name="customer"),
            path("support/", self.admin_view(support.desk), name="support"),
            path("support/<uuid:thread>/", self.admin_view(support.thread), name="support_thread"),
            path("purchase-orders/<uuid:document>/", self.admin_view(contracts.purchase_order), name="purchase_order"),
            path("support/<uuid:thread>/files/<uuid:file>/", self.admin_view(support.file), name="support_file"),
            path("announcements/", self.admin_view(announcements.page), name="announcements"),
            path("satisfaction/", self.admin_view(satisfaction.page), name="satisfaction"),
            path("planner/", self.admin_view(planner.page), name="planner"),
            path("planner/csv/", self.admin_view(planner.download), name="planner_csv"),
            path("planner/scenarios/", self.admin_view(planner.scenarios), name="scenarios"),
            *(path(way, self.admin_view(view), name=name) for way, view, name in economics.ROUTES),
        ]
        return [*ours, *super().get_urls()]

    def _wanted(self, request: HttpRequest) -> str:
        wanted = request.GET.get("next", "")
        mine = wanted.startswith(settings.STAFF_PATH) and "//" not in wanted and wanted.isprintable()
        return wanted if mine and not wanted.startswith(reverse("admin:login")) else settings.STAFF_PATH


def unreadable(request: HttpRequest) -> bool:
    """Whether the address holds a character PostgreSQL cannot store: then nothing can be found by it."""
    texts = [request.path, *(text for name, values in request.GET.lists() for text in (name, *values))]
    return any("\x00" in text for text in texts)


staff = StaffSite(name="admin")
