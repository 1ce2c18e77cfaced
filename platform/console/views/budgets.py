"""All spend limits on one page: organisation, projects, members, keys and models."""

from collections import Counter
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils.translation import gettext as _

from billing.periods import month_of, next_month
from billing.selectors.filling import Filling, spend_limits
from console import budgets_page
from console.budgets_page import Directory, Row
from console.paging import page_number, page_of
from console.views.base import ConsoleView
from kit.clock import now
from kit.ids import public_id


class Budgets(ConsoleView):
    """`/usage/budgets/`: the fullest first."""

    section = "usage"
    required_scopes = {"GET": "usage.read"}
    template_name = "console/budgets.html"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """One page of them."""
        self.month = month_of(now())
        every = spend_limits(self.month)
        scope = request.GET.get("scope", "")
        scope = scope if scope in budgets_page.SCOPES else ""
        wanted = [one for one in every if not scope or one.scope == scope]
        wanted.sort(key=lambda one: (one.scope != "tenant", -one.state.percent, -one.state.spent_nano, one.name))
        page = page_of(wanted, page_number(request.GET.get("page")))
        counts = Counter(one.scope for one in every)
        return self.page(
            {
                "page": page,
                "rows": self._rows(page.rows),
                "scope": scope,
                "tabs": [
                    {
                        "label": label,
                        "href": f"{self.org_path('budgets')}{f'?scope={code}' if code else ''}",
                        "current": code == scope,
                        "count": counts[code] if code else len(every),
                    }
                    for code, label in budgets_page.TABS.items()
                ],
                "over": sum(one.state.level == "over" for one in every),
                "near": sum(one.state.level == "near" for one in every),
                "month": self.month,
                "renews": next_month(self.month),
                "may": self.can("tenant.write"),
                "ways": self._ways(),
                "crumbs": [{"label": _("Usage"), "href": self.org_path("usage")}],
            }
        )

    def _rows(self, shown: Any) -> list[Row]:
        directory = Directory.of_scope()
        alerts = budgets_page.alerts_of(shown)
        # Who set a limit is a colleague's name: for those who may see the members.
        set_by: dict[UUID, Any] = {}
        if self.can("members.read"):
            targets = {one.scope_id: budgets_page.target_of(one, directory) for one in shown}
            set_by = budgets_page.setters(shown, {pk: target for pk, target in targets.items() if target})
        return [self._row(one, directory, alerts.get(one.name, {}), set_by.get(one.scope_id)) for one in shown]

    def _row(self, one: Filling, directory: Directory, alerted: dict[str, Any], change: Any) -> Row:
        name, detail = budgets_page.name_of(one, directory, self.tenant)
        return Row(
            filling=one,
            scope=budgets_page.SCOPES[one.scope],
            name=name,
            detail=detail,
            href=self._change(one, directory),
            events=self._events(one),
            left_nano=max(0, one.state.cap_nano - one.state.spent_nano),
            told=budgets_page.told(one, alerted, f"{self.month:%Y-%m}"),
            set_by=change.actor_label if change is not None else "",
            set_at=change.at if change is not None else None,
        )

    def _change(self, one: Filling, directory: Directory) -> str:
        """Where a limit is shown and changed."""
        project = directory.projects.get(one.project_id) if one.project_id is not None else None
        if one.scope == "tenant":
            return self.org_path("billing") if self.can("billing.read") else ""
        if one.scope == "project":
            return self.org_path("project_limits", project.public_id) if project is not None else ""
        if one.scope == "member":
            member = directory.members.get(one.scope_id)
            return self.org_path("member_limits", member.public_id) if member and self.can("members.read") else ""
        if project is None:
            return ""
        where = [self.tenant.slug, project.slug]
        if one.scope == "key":
            key = public_id("key_", one.scope_id)
            return reverse("console:key", args=[*where, key]) if self.can("keys.read") else ""
        return reverse("console:model_limit", args=[*where, one.label])

    def _events(self, one: Filling) -> str:
        """The query of the month's events under a limit; a member's are under several keys, and have none."""
        asked = {"since": self.month.isoformat(), "until": now().date().isoformat()}
        if one.scope == "member":
            return ""
        if one.scope in ("project", "model") and one.project_id is not None:
            asked["project"] = public_id("proj_", one.project_id)
        if one.scope == "model":
            asked["model"] = one.label
        if one.scope == "key":
            asked["key"] = public_id("key_", one.scope_id)
        return urlencode(asked)

    def _ways(self) -> list[tuple[str, str]]:
        """Where limits of each scope are set."""
        ways = [(_("Projects, under Settings"), self.org_path("settings"))]
        if self.can("members.read"):
            ways.append((_("Members"), self.org_path("members")))
        if self.can("keys.read"):
            ways.append((_("API keys"), self.project_path("keys")))
        return [*ways, (_("Models, under Limits of models"), self.project_path("model_limits"))]
