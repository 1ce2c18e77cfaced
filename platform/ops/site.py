"""The staff's admin site: its own door. Staff, active, and with a second factor, or it does not open.

Everything inside runs in `ops_scope`, on the database role that row-level security does not bind, rendering included.
"""

from collections.abc import Callable
from functools import update_wrapper
from typing import Any

from allauth.mfa.models import Authenticator
from allauth.mfa.utils import is_mfa_enabled
from django.contrib import messages
from django.contrib.auth import logout
from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.response import SimpleTemplateResponse
from django.utils.translation import gettext as _
from unfold.sites import UnfoldAdminSite

from ops import dashboard
from tenants.scope import ops_scope

FACTORS = [Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN]


def is_staff(request: HttpRequest) -> bool:
    """An active member of staff, second factor or not."""
    user = request.user
    return bool(user.is_authenticated and user.is_active and user.is_staff)


def has_second_factor(request: HttpRequest) -> bool:
    """An authenticator app or a passkey stands behind the account; allauth then asks for it at every sign-in."""
    return bool(is_mfa_enabled(request.user, FACTORS))


class StaffSite(UnfoldAdminSite):
    """`/staff/`."""

    site_header = "Tunesmith staff"
    site_title = "Tunesmith staff"
    index_title = "Dashboard"
    index_template = "ops/index.html"
    enable_nav_sidebar = True

    def has_permission(self, request: HttpRequest) -> bool:
        """Both conditions, on every request."""
        return is_staff(request) and has_second_factor(request)

    def admin_view(self, view: Callable[..., Any], cacheable: bool = False) -> Callable[..., Any]:
        """Wrap every view of the site in the ops scope, until the page is rendered."""
        guarded = super().admin_view(view, cacheable)

        def inside(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            with ops_scope(f"staff console: {request.user.pk}"):
                response: HttpResponseBase = guarded(request, *args, **kwargs)
                if isinstance(response, SimpleTemplateResponse) and not response.is_rendered:
                    response.render()
                return response

        return update_wrapper(inside, view)

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponseBase:
        """Sign-in is the product's own; a stranger learns nothing; staff without a second factor set one up."""
        if not request.user.is_authenticated:
            return redirect_to_login(self._home(request))
        if not is_staff(request):
            raise Http404
        if not has_second_factor(request):
            messages.warning(request, _("Staff need a second factor. Set up an authenticator app or a passkey first."))
            return redirect("mfa_index")
        return redirect(self._home(request))

    def logout(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponseBase:
        """Sign out of everything."""
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

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """The list of tables, with plurals that English knows."""
        listed: list[Any] = super().get_app_list(request, app_label)
        for app in listed:
            for table in app["models"]:
                table["name"] = plural(str(table["name"]))
        return listed

    def _home(self, request: HttpRequest) -> str:
        wanted = request.GET.get("next", "")
        return wanted if wanted.startswith("/staff/") and "//" not in wanted else "/staff/"


def plural(word: str) -> str:
    """Django's plural (an appended s) put right: entrys → entries, pushs → pushes."""
    if word.endswith("ys") and word[-3:-2] not in "aeiou":
        return word[:-2] + "ies"
    return word[:-1] + "es" if word.endswith(("shs", "chs", "xs")) else word


staff = StaffSite(name="admin")
