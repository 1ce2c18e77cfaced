"""Settings of an organisation: name, projects, shared training, this browser's preferences, leaving, closing."""

from typing import Any

from django import forms
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from billing.services.room import project_add
from console import currencies
from console.people.closing import at_stake, organisation_close, plan_end, project_at_stake, project_close
from console.views.base import ConsoleView, Outside
from kit.errors import NotFound
from kit.ids import parse_id
from tenants import selectors
from tenants.models import Project
from tenants.services.organisations import (
    member_leave,
    member_of,
    project_rename,
    tenant_closable,
    tenant_rename,
)
from training.selectors.capacity import sharing_allowed
from training.services import sharing_set


class NameForm(forms.Form):
    """A display name."""

    name = forms.CharField(label=_("Name"), max_length=100)


class ProjectForm(NameForm):
    """The name of a new project."""

    name = forms.CharField(label=_("New project"), max_length=100)


class CloseForm(forms.Form):
    """Closing needs the name typed."""

    confirm_name = forms.CharField(
        label=_("Type the organisation's name to confirm"),
        max_length=100,
        widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"}),
    )


class SettingsView(ConsoleView):
    """What the pages under Settings share."""

    section = "settings"
    template_name = "console/people/settings.html"

    def target(self, text: str) -> Project:
        """A project by public id; NotFound otherwise."""
        project = selectors.project_by_id(parse_id("proj_", text))
        if project.archived_at is not None:
            raise NotFound.of(text)
        return project

    def listing(self, status: int = 200, **forms_: Any) -> HttpResponseBase:
        """The page, with forms that failed in place of fresh ones."""
        own = [
            (project, NameForm(initial={"name": project.name}, auto_id=f"{project.slug}_%s"))
            for project in selectors.projects()
        ]
        context: dict[str, Any] = {
            "form": NameForm(initial={"name": self.tenant.name}, auto_id="organisation_%s"),
            "project_form": ProjectForm(auto_id="new_project_%s"),
            "own_projects": own,
            "currency_label": currencies.label(self.tenant.currency),
            "shares": sharing_allowed(),
            "may": self.can("tenant.write"),
            "may_own": self.can("tenant.own"),
        }
        return self.page(context | forms_, status=status)


class SettingsPage(SettingsView):
    """Everything on one page."""

    required_scopes = {"POST": "tenant.write"}

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """Show it."""
        return self.listing()

    def post(self, request: HttpRequest) -> HttpResponseBase:
        """Rename the organisation."""
        form = NameForm(request.POST, auto_id="organisation_%s")
        name = form.data.get("name", "")
        if form.is_valid() and self.attempt(form, lambda: tenant_rename(tenant=self.tenant, name=name)) is not None:
            return self.done(self.org_path("settings"), _t("Name saved."))
        return self.listing(422, form=form)


class NewProject(SettingsView):
    """Another project."""

    required_scopes = {"POST": "tenant.write"}

    def post(self, request: HttpRequest) -> HttpResponseBase:
        """Make it."""
        form = ProjectForm(request.POST, auto_id="new_project_%s")
        made = self.attempt(form, lambda: project_add(name=form.cleaned_data["name"])) if form.is_valid() else None
        if made is not None:
            return self.done(self.org_path("settings"), _t("%(name)s is ready.") % {"name": made.name})
        return self.listing(422, project_form=form)


class RenameProject(SettingsView):
    """Another name for a project."""

    required_scopes = {"POST": "tenant.write"}

    def post(self, request: HttpRequest, target: str) -> HttpResponseBase:
        """Rename it."""
        project = self.target(target)
        form = NameForm(request.POST, auto_id=f"{project.slug}_%s")
        if (
            form.is_valid()
            and self.attempt(form, lambda: project_rename(project=project, name=form.cleaned_data["name"])) is not None
        ):
            return self.done(self.org_path("settings"), _t("Name saved."))
        return self.listing(422, bad_project=form)


class ArchiveProject(SettingsView):
    """Close a project."""

    required_scopes = {"GET": "tenant.write", "POST": "tenant.write"}
    template_name = "console/people/project_archive.html"

    def get(self, request: HttpRequest, target: str) -> HttpResponseBase:
        """Ask."""
        project = self.target(target)
        return self.page({"target": project, "stake": project_at_stake(project)})

    def post(self, request: HttpRequest, target: str) -> HttpResponseBase:
        """Archive it, and end what works in it."""
        project = self.target(target)
        project_close(project=project)
        said = _t("%(name)s is archived and its keys are revoked.") % {"name": project.name}
        return self.done(self.org_path("settings"), said)


class SharedTraining(SettingsView):
    """Whether jobs may train in one process with those of other organisations."""

    required_scopes = {"POST": "tenant.write"}

    def post(self, request: HttpRequest) -> HttpResponseBase:
        """Allow it, or no longer."""
        allowed = request.POST.get("shared_training") == "on"
        sharing_set(tenant=self.tenant, allowed=allowed)
        said = (
            _t("Shared training is on.")
            if allowed
            else _t("Shared training is off. Jobs that start from now on train alone.")
        )
        return self.done(self.org_path("settings"), said)


class Leave(SettingsView):
    """Give up one's own seat."""

    template_name = "console/people/leave.html"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """Ask."""
        return self.page()

    def post(self, request: HttpRequest) -> HttpResponseBase:
        """Leave."""
        member_leave(member=member_of(self.seat.member_id))
        return self.done("/o/", _t("You left %(name)s.") % {"name": self.tenant.name})


class Close(SettingsView):
    """Close the organisation for everybody."""

    required_scopes = {"GET": "tenant.own", "POST": "tenant.own"}
    template_name = "console/people/close.html"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """Ask for its name."""
        return self._ask(CloseForm())

    def post(self, request: HttpRequest) -> HttpResponseBase | Outside:
        """End its plan at Stripe, then close it."""
        form = CloseForm(request.POST)
        wish = {"tenant": self.tenant, "confirm_name": form.data.get("confirm_name", ""), "by": self.auth}
        if self.attempt(form, lambda: tenant_closable(**wish)) is None:
            return self._ask(form, 422)
        return Outside(lambda: plan_end(tenant=self.tenant), lambda _: self._close(wish))

    def _close(self, wish: dict[str, Any]) -> HttpResponseBase:
        closed = organisation_close(**wish)
        return self.done("/o/", _t("%(name)s is closed.") % {"name": closed.name})

    def _ask(self, form: CloseForm, status: int = 200) -> HttpResponseBase:
        return self.page({"form": form, "stake": at_stake()}, status=status)
