"""`/v1/fine_tuning/sweeps`: several settings tried as jobs within one budget."""

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from kit.ids import parse_id
from kit.pages import cursor_page
from kit.schema import describe, paging
from tenants.api import TenantAPIView
from tenants.selectors import project_by_id
from training import selectors, sweep_schema, sweep_wire
from training.api import NO_SUCH, PAGING, UNFIT, UNREADY
from training.models import Job, Sweep
from training.services import losers_delete, losers_restore, sweep_cancel, sweep_create, sweep_estimate
from training.sweep_serializers import SweepInput

EXAMPLE = {
    "name": "support",
    "model": "all-MiniLM-L6-v2",
    "training_file": "file-…",
    "strategy": "random",
    "space": {"x_method": ["lora", "full"], "learning_rate_multiplier": {"min": 0.3, "max": 3, "scale": "log"}},
    "trials": 6,
    "x_max_price_usd": 5,
}


class SweepsView(TenantAPIView):
    """Create and list."""

    required_scopes = {"GET": "jobs.read", "POST": "jobs.write"}

    @describe(
        name="fine_tuning_sweeps_create",
        takes=SweepInput,
        answers=sweep_schema.SWEEP,
        refuses={404: NO_SUCH, 422: UNFIT, 429: "As many sweeps are open as the plan allows jobs to wait."},
        once=True,
        example=EXAMPLE,
    )
    def post(self, request: Request) -> Response:
        """Create a sweep

        It pins one version of the data, then starts its trials as jobs, never more than fit into the budget. Trials are
        compared by macro-F1 on the validation rows; the test rows choose nothing.
        """

        def create() -> dict[str, Any]:
            sweep = sweep_create(
                project=project_by_id(self.caller.project_id),
                wanted=self.read(SweepInput),
                key_id=self.caller.key_id,
                by=self.caller.actor_label,
            )
            return sweep_wire.sweep_object(sweep)

        return self.create_once(request, create)

    @describe(name="fine_tuning_sweeps_list", answers=sweep_schema.SWEEPS, fields=PAGING)
    def get(self, request: Request) -> Response:
        """List sweeps

        The project's sweeps, newest first.
        """
        return Response(
            cursor_page(
                selectors.sweeps(self.caller.project_id),
                request.query_params,
                parse=lambda text: parse_id(Sweep.prefix, text),
                render=sweep_wire.sweep_object,
            )
        )


class SweepEstimateView(TenantAPIView):
    """What a sweep would cost."""

    required_scopes = {"POST": "jobs.read"}

    @describe(
        name="fine_tuning_sweeps_estimate",
        takes=SweepInput,
        answers=sweep_schema.ESTIMATE,
        refuses={404: NO_SUCH, 409: UNREADY, 422: UNFIT},
        example=EXAMPLE,
    )
    def post(self, request: Request) -> Response:
        """Estimate a sweep

        Trials, price and time for the body of a create. It costs nothing and changes nothing.
        """
        wanted = self.read(SweepInput)
        return Response(sweep_estimate(project=project_by_id(self.caller.project_id), wanted=wanted))


class SweepView(TenantAPIView):
    """One sweep."""

    required_scopes = {"GET": "jobs.read"}

    @describe(name="fine_tuning_sweeps_retrieve", answers=sweep_schema.SWEEP)
    def get(self, request: Request, sweep: str) -> Response:
        """Retrieve a sweep

        As it stands now: progress, money, the best trial so far.
        """
        return Response(sweep_wire.sweep_object(selectors.sweep_by_public_id(self.caller.project_id, sweep)))


class SweepCancelView(TenantAPIView):
    """Stop a sweep."""

    required_scopes = {"POST": "jobs.write"}

    @describe(
        name="fine_tuning_sweeps_cancel", answers=sweep_schema.SWEEP, refuses={409: "It has ended in another way."}
    )
    def post(self, request: Request, sweep: str) -> Response:
        """Cancel a sweep

        No trial starts any more, and the open ones are cancelled, which costs nothing. What ended trials made stays.
        Twice answers the same.
        """
        found = selectors.sweep_by_public_id(self.caller.project_id, sweep)
        return Response(sweep_wire.sweep_object(sweep_cancel(sweep=found)))


class SweepLosersView(TenantAPIView):
    """The models of its losers."""

    required_scopes = {"GET": "models.read", "DELETE": "models.write"}

    @describe(name="fine_tuning_sweeps_losers", answers=sweep_schema.LOSERS)
    def get(self, request: Request, sweep: str) -> Response:
        """List a sweep's losers

        The models that a delete would delete now, and the size of their weights.
        """
        found = selectors.sweep_by_public_id(self.caller.project_id, sweep)
        return Response(sweep_wire.losers_object(found, selectors.losers_seen(found), deleted=False))

    @describe(
        name="fine_tuning_sweeps_losers_delete",
        answers=sweep_schema.LOSERS,
        refuses={409: "It has not ended, so its losers are not known."},
    )
    def delete(self, request: Request, sweep: str) -> Response:
        """Delete a sweep's losers

        The models of trials that have not won. One that has an alias, or was ever deployed, stays. For 30 days they can
        be brought back. Twice is harmless: the second time there are none.
        """
        found = selectors.sweep_by_public_id(self.caller.project_id, sweep)
        return Response(sweep_wire.losers_object(found, losers_delete(sweep=found), deleted=True))


class SweepLosersRestoreView(TenantAPIView):
    """The way back."""

    required_scopes = {"POST": "models.write"}

    @describe(name="fine_tuning_sweeps_losers_restore", answers=sweep_schema.LOSERS)
    def post(self, request: Request, sweep: str) -> Response:
        """Bring a sweep's losers back

        Those that were deleted together last, within 30 days. Answers what came back.
        """
        found = selectors.sweep_by_public_id(self.caller.project_id, sweep)
        return Response(sweep_wire.losers_object(found, losers_restore(sweep=found), deleted=False))


class SweepTrialsView(TenantAPIView):
    """What it tried."""

    required_scopes = {"GET": "jobs.read"}

    @describe(name="fine_tuning_sweeps_trials", answers=sweep_schema.TRIALS, fields=paging(default=20, maximum=100))
    def get(self, request: Request, sweep: str) -> Response:
        """List a sweep's trials

        Newest first. Each one is a job as well.
        """
        found = selectors.sweep_by_public_id(self.caller.project_id, sweep)
        return Response(
            cursor_page(
                selectors.trials_of(found),
                request.query_params,
                parse=lambda text: parse_id(Job.prefix, text),
                render=lambda job: sweep_wire.trial_object(job, found),
            )
        )
