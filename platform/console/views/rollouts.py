"""Rollouts: begin one on an alias, watch both versions side by side, promote or roll back."""

from typing import Any

from django import forms
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from console import rollout_page
from console.paging import page_number, page_of, page_with
from console.views.base import ConsoleView
from console.views.names import short_name
from registry import selectors as registry
from serving import outcomes, rollouts, rounds, selectors
from serving.errors import SpanTooLarge
from serving.models import Deployment, Rollout
from serving.patience import PATIENCE_MS
from serving.splits import CANDIDATE, STABLE, WHOLE

MODES = (
    (Rollout.Mode.CANARY, gettext_lazy("Canary: a growing share of callers gets the candidate")),
    (Rollout.Mode.AB, gettext_lazy("A/B test: a fixed split until you decide")),
    (
        Rollout.Mode.SHADOW,
        gettext_lazy("Shadow: the candidate is asked too; nobody gets its answer or pays for it"),
    ),
)
LADDER = (500, 2_500, 5_000, WHOLE)
"""What a canary begun here goes through, in basis points."""
DRAIN_SECONDS = 300


class RolloutForm(forms.Form):
    """A candidate for an alias."""

    alias = forms.ChoiceField(
        label=gettext_lazy("Alias"), help_text=gettext_lazy("What it stands for now is the stable version.")
    )
    candidate = forms.ChoiceField(
        label=gettext_lazy("Candidate"),
        help_text=gettext_lazy("A deployment that is live: deploy a version first."),
        error_messages={
            "invalid_choice": gettext_lazy("Choose another version that is live; the alias stands for this one.")
        },
    )
    mode = forms.ChoiceField(
        label=gettext_lazy("How"), choices=MODES, widget=forms.RadioSelect, initial=Rollout.Mode.CANARY
    )
    share = forms.FloatField(
        label=gettext_lazy("Share of callers, percent"),
        required=False,
        min_value=0,
        max_value=100,
        help_text=gettext_lazy("5 for a canary, 50 for an A/B test and 100 for a shadow if left empty."),
    )
    climb = forms.BooleanField(
        label=gettext_lazy("Raise a canary by itself, from its share on: 5, 25, 50, 100%, then promote it"),
        required=False,
        initial=True,
    )
    minutes = forms.IntegerField(
        label=gettext_lazy("Minutes of each step at least"), min_value=0, max_value=10_000, initial=30
    )
    calls = forms.IntegerField(
        label=gettext_lazy("The candidate's calls in each step at least"),
        min_value=0,
        max_value=1_000_000,
        initial=100,
    )
    latency_ms = forms.IntegerField(
        label=gettext_lazy("Limit for its 95th percentile, ms"), required=False, min_value=1, max_value=600_000
    )
    stop_old = forms.BooleanField(
        label=gettext_lazy("Stop the old deployment five minutes after the promotion"), required=False
    )

    def __init__(self, view: ConsoleView, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        live = list(selectors.deployments(view.project.pk).filter(state=Deployment.State.LIVE)[:200])
        versions = {one.version_id for one in live}
        named = {str(one): one.version_id for one in registry.aliases(view.project.pk) if one.version_id in versions}
        chosen = str(self.data.get("alias") or self.initial.get("alias") or "")
        stable = named[chosen] if chosen in named else next(iter(named.values()), None)
        fields: Any = self.fields
        fields["alias"].choices = [(name, name) for name in named]
        fields["candidate"].choices = [
            (one.public_id, f"{short_name(one.model)} v{one.version.number}" + (f" ({one.alias})" if one.alias else ""))
            for one in live
            if one.version_id != stable
        ]
        self.possible = bool(named) and len(versions) > 1

    def clean(self) -> dict[str, Any]:
        """Nobody would ever call a candidate that shall climb from nothing."""
        clean: dict[str, Any] = super().clean() or self.cleaned_data
        if clean.get("mode") in (Rollout.Mode.AB, Rollout.Mode.SHADOW):
            for name in ("minutes", "calls", "latency_ms"):  # not shown then, so what stands in them is no fault
                self.errors.pop(name, None)
                clean[name] = self.fields[name].initial
        share = clean.get("share")
        nobody = share is not None and round(share * 100) == 0
        if clean.get("climb") and clean.get("mode") == Rollout.Mode.CANARY and nobody:
            self.add_error("share", _("A canary that is raised by itself begins at 0.01% or more."))
        return clean

    def wanted(self) -> dict[str, Any]:
        """As the service takes it."""
        clean = self.cleaned_data
        share = None if clean["share"] is None else round(clean["share"] * 100)
        climbs = clean["mode"] == Rollout.Mode.CANARY and clean["climb"]
        rungs = LADDER if share is None else [share, *(rung for rung in LADDER if rung > share)]
        step = {"seconds": clean["minutes"] * 60, "calls": clean["calls"], "feedback": 0}
        return {
            "alias": clean["alias"],
            "mode": clean["mode"],
            "share": share,
            "steps": [{"share": rung, **step} for rung in rungs] if climbs else [],
            "guards": {"latency_ms": clean["latency_ms"]},
            "drain_seconds": DRAIN_SECONDS if clean["stop_old"] else None,
        }


class ShareForm(forms.Form):
    """Another share."""

    share = forms.FloatField(label=gettext_lazy("Share of callers, percent"), min_value=0, max_value=100)


class RolloutsView(ConsoleView):
    """What these pages share."""

    section = "deployments"

    def rollout(self, text: str) -> Rollout:
        """A rollout of this project; NotFound otherwise."""
        return selectors.rollout_by_id(self.project.pk, text)

    def place(self, row: Rollout) -> str:
        """Its page."""
        return self.project_path("rollout", row.public_id)

    def crumbs(self, *more: dict[str, str]) -> list[dict[str, str]]:
        """The way back."""
        return [{"label": _("Deployments"), "href": self.project_path("deployments")}, *more]


class Rollouts(RolloutsView):
    """The project's rollouts."""

    required_scopes = {"GET": "deployments.read"}
    template_name = "console/rollouts.html"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """Newest first; an empty page teaches."""
        page = page_of(selectors.rollouts(self.project.pk), page_number(request.GET.get("page")))
        rows = [
            {
                "rollout": row,
                "badge": badge_of(row),
                "candidate": named(row.candidate),
                "share": rollouts.percent(row.share),
                "href": self.place(row),
            }
            for row in page.rows
        ]
        return self.page(
            {
                "page": page_with(page, rows),
                "crumbs": self.crumbs(),
                "can_begin": self.can("deployments.write"),
                "new_url": self.project_path("rollout_new"),
            }
        )


class RolloutNew(RolloutsView):
    """Begin one."""

    required_scopes = {"GET": "deployments.write", "POST": "deployments.write"}
    template_name = "console/rollout_new.html"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """The form, with what the address names."""
        named = {name: request.GET[name] for name in ("alias", "candidate", "mode") if name in request.GET}
        return self._form(RolloutForm(self, initial=named))

    def post(self, request: HttpRequest) -> HttpResponseBase:
        """Do it."""
        form = RolloutForm(self, request.POST)
        if form.is_valid():
            candidate = selectors.deployment_by_id(self.project.pk, form.cleaned_data["candidate"])
            made = self.attempt(
                form,
                lambda: rollouts.rollout_create(
                    project=self.project, candidate=candidate, created_by=self.auth.actor_label, **form.wanted()
                ),
            )
            if made is not None:
                return self.done(self.place(made))
        return self._form(form, status=422)

    def _form(self, form: RolloutForm, *, status: int = 200) -> HttpResponseBase:
        back = self.project_path("rollouts")
        return self.page(
            {
                "form": form,
                "crumbs": self.crumbs({"label": _("Rollouts"), "href": back}),
                "back_url": back,
                "new_url": self.project_path("rollout_new"),
                "deployments_url": self.project_path("deployments"),
            },
            status=status,
        )


class RolloutPage(RolloutsView):
    """One rollout: both versions side by side, what was decided, and deciding."""

    required_scopes = {"GET": "deployments.read", "POST": "deployments.write"}
    template_name = "console/rollout.html"

    def get(self, request: HttpRequest, rollout: str) -> HttpResponseBase:
        """Show it."""
        found = self.rollout(rollout)
        return self._show(found, ShareForm(initial={"share": f"{found.share / 100:g}"}))

    def post(self, request: HttpRequest, rollout: str) -> HttpResponseBase:
        """Another share."""
        found, form = self.rollout(rollout), ShareForm(request.POST)
        if form.is_valid():
            share = round(form.cleaned_data["share"] * 100)
            if self.attempt(form, lambda: rollouts.rollout_change(rollout=found, share=share)) is not None:
                return self.done(self.place(found))
        return self._show(found, form, status=422)

    def _show(self, row: Rollout, form: ShareForm, *, status: int = 200) -> HttpResponseBase:
        running, may = row.state == Rollout.State.RUNNING, self.can("deployments.write")
        shadow, uncounted = row.mode == Rollout.Mode.SHADOW, ""
        counted = []
        try:
            counted = rounds.rounds_of(row, patience_ms=PATIENCE_MS) if running else []
            figures = outcomes.figures_of(row, counted)
        except SpanTooLarge:
            figures = {STABLE: outcomes.Figures(), CANDIDATE: outcomes.Figures()}
            uncounted = _("There is more new than can be counted while you wait. Reload in a minute.")
        arms = [
            {
                "title": title,
                "deployment": deployment,
                "name": named(deployment),
                "href": self.project_path("deployment", deployment.public_id),
                "share": share,
                "figures": figures[arm],
            }
            for title, arm, deployment, share in (
                (_("Stable"), STABLE, row.stable, rollouts.percent(WHOLE if shadow else WHOLE - row.share)),
                (_("Candidate"), CANDIDATE, row.candidate, rollouts.percent(row.share)),
            )
        ]
        undo = row.state == Rollout.State.PROMOTED and row.stable.state == Deployment.State.LIVE
        again = row.state == Rollout.State.ROLLED_BACK and row.candidate.state == Deployment.State.LIVE
        wanted = f"?alias={row.alias}&candidate={row.candidate.public_id}&mode={row.mode}"
        return self.page(
            {
                "rollout": row,
                "badge": badge_of(row),
                "running": running,
                "is_shadow": shadow,
                "arms": arms,
                "uncounted": uncounted,
                "likeness": rollout_page.likeness(row) if shadow else None,
                "evidence": rollout_page.evidence(row, counted) if counted else "",
                "steps": self._steps(row),
                "waits_for": rollout_page.waits_for(row, counted) if counted else "",
                "guards": row.guards,
                "events": selectors.rollout_events(row),
                "form": form,
                "may": may,
                "can_undo": may and undo,
                "crumbs": self.crumbs({"label": _("Rollouts"), "href": self.project_path("rollouts")}),
                "promote_url": self.project_path("rollout_promote", row.public_id),
                "rollback_url": self.project_path("rollout_rollback", row.public_id),
                "again_url": f"{self.project_path('rollout_new')}{wanted}" if may and again else "",
            },
            status=status,
        )

    def _steps(self, row: Rollout) -> list[dict[str, Any]]:
        """A canary's steps, and where it stands."""
        return [
            {
                "share": rollouts.percent(step["share"]),
                "minutes": step["seconds"] / 60,
                "calls": step["calls"],
                "feedback": step["feedback"],
                "here": step["share"] == row.share and row.state == Rollout.State.RUNNING,
                "over": step["share"] < row.share,
            }
            for step in row.steps
        ]


class RolloutPromote(RolloutsView):
    """The candidate takes over."""

    required_scopes = {"POST": "deployments.write"}

    def post(self, request: HttpRequest, rollout: str) -> HttpResponseBase:
        """Do it; the page has the undo."""
        return self.done(self.place(rollouts.rollout_promote(rollout=self.rollout(rollout))))


class RolloutRollback(RolloutsView):
    """Back to the stable version."""

    required_scopes = {"POST": "deployments.write"}

    def post(self, request: HttpRequest, rollout: str) -> HttpResponseBase:
        """Do it; the page has the way to begin again."""
        return self.done(self.place(rollouts.rollout_rollback(rollout=self.rollout(rollout))))


def badge_of(row: Rollout) -> str:
    """Its state as `console.states` names it. Nobody was on a shadow, so none is rolled back from it."""
    if row.state == Rollout.State.RUNNING:
        return "rolling"
    return "stopped" if row.mode == Rollout.Mode.SHADOW and row.state == Rollout.State.ROLLED_BACK else row.state


def named(deployment: Deployment) -> str:
    """A version in short."""
    return f"{short_name(deployment.model)} v{deployment.version.number}"
