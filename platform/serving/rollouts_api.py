"""`/v1/rollouts` and `/v1/feedback`."""

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from kit.ids import parse_id
from kit.pages import cursor_page
from kit.schema import describe, paging
from serving import feedback, outcomes, rollouts, schema, selectors
from serving.models import Feedback, Rollout
from serving.serializers import FeedbackGive, RolloutBack, RolloutChange, RolloutCreate
from serving.splits import CANDIDATE, STABLE
from tenants.api import TenantAPIView
from tenants.models import Project

STEP = {"seconds": 600, "calls": 100, "feedback": 0}
ENDED = {409: "The rollout has ended, or the alias was moved, or a version that is needed is not live."}


def points(share: float) -> int:
    """Percent as basis points."""
    return round(share * 100)


def steps_of(body: dict[str, Any]) -> list[dict[str, int]]:
    """Steps as the services take them."""
    return [STEP | step | {"share": points(step["share"])} for step in body.get("steps", ())]


class RolloutsView(TenantAPIView):
    """The project's rollouts."""

    required_scopes = {"GET": "deployments.read", "POST": "deployments.write"}

    @describe(name="rollouts_list", answers=schema.ROLLOUTS, fields=paging(default=20, maximum=100))
    def get(self, request: Request) -> Response:
        """List rollouts

        The project's rollouts, newest first, those that ended too.
        """
        return Response(
            cursor_page(
                selectors.rollouts(self.caller.project_id),
                request.query_params,
                parse=lambda text: parse_id(Rollout.prefix, text),
                render=selectors.rollout_wire,
            )
        )

    @describe(
        name="rollouts_create",
        takes=RolloutCreate,
        answers=schema.ROLLOUT,
        refuses={
            404: "No such alias or deployment in the key's project.",
            409: "A version is not live, or a rollout runs on the alias.",
        },
        once=True,
        example={"alias": "triage@prod", "candidate": "dep_01m8hyccpze3abtvcq1zv6743v", "mode": "canary", "share": 5},
    )
    def post(self, request: Request) -> Response:
        """Begin a rollout

        Callers of the alias are shared between the version it stands for and the candidate, each staying on its side.
        """
        body = self.read(RolloutCreate)

        def create() -> dict[str, Any]:
            made = rollouts.rollout_create(
                project=Project.objects.get(pk=self.caller.project_id),
                alias=body["alias"],
                candidate=selectors.deployment_by_id(self.caller.project_id, body["candidate"]),
                mode=body["mode"],
                share=points(body["share"]) if "share" in body else None,
                steps=steps_of(body),
                guards=body.get("guards"),
                drain_seconds=body.get("drain_seconds"),
                created_by=self.caller.actor_label,
            )
            return selectors.rollout_wire(made)

        return self.create_once(request, create)


class RolloutView(TenantAPIView):
    """One rollout."""

    required_scopes = {"GET": "deployments.read", "POST": "deployments.write"}

    @describe(name="rollouts_retrieve", answers=schema.ROLLOUT_WHOLE)
    def get(self, request: Request, rollout: str) -> Response:
        """Retrieve a rollout

        With the figures of both arms and its history.
        """
        return Response(whole(selectors.rollout_by_id(self.caller.project_id, rollout)))

    @describe(name="rollouts_update", takes=RolloutChange, answers=schema.ROLLOUT, refuses=ENDED)
    def post(self, request: Request, rollout: str) -> Response:
        """Change the share

        A larger share moves callers to the candidate and none back. Set by hand, it ends the steps.
        """
        found, body = selectors.rollout_by_id(self.caller.project_id, rollout), self.read(RolloutChange)
        changed = rollouts.rollout_change(
            rollout=found,
            share=points(body["share"]) if "share" in body else None,
            steps=steps_of(body) if "steps" in body else None,
        )
        return Response(selectors.rollout_wire(changed))


class RolloutPromoteView(TenantAPIView):
    """The candidate takes over."""

    required_scopes = {"POST": "deployments.write"}

    @describe(name="rollouts_promote", answers=schema.ROLLOUT, refuses=ENDED)
    def post(self, request: Request, rollout: str) -> Response:
        """Promote the candidate

        The alias stands for it from the next call on; no call in between fails.
        """
        found = selectors.rollout_by_id(self.caller.project_id, rollout)
        return Response(selectors.rollout_wire(rollouts.rollout_promote(rollout=found)))


class RolloutRollbackView(TenantAPIView):
    """Back to the stable version."""

    required_scopes = {"POST": "deployments.write"}

    @describe(name="rollouts_rollback", takes=RolloutBack, answers=schema.ROLLOUT, refuses=ENDED)
    def post(self, request: Request, rollout: str) -> Response:
        """Roll back

        All callers get the stable version again. After a promotion this moves the alias back, while the old version is
        live. Twice answers the same.
        """
        found, body = selectors.rollout_by_id(self.caller.project_id, rollout), self.read(RolloutBack)
        back = rollouts.rollout_rollback(rollout=found, reason=body.get("reason", ""))
        return Response(selectors.rollout_wire(back))


class FeedbackView(TenantAPIView):
    """What was said of answers."""

    required_scopes = {"GET": "deployments.read", "POST": "inference"}

    @describe(name="feedback_list", answers=schema.FEEDBACK_LIST, fields=paging(default=20, maximum=100))
    def get(self, request: Request) -> Response:
        """List feedback

        The project's, newest first.
        """
        return Response(
            cursor_page(
                feedback.feedback_of(self.caller.project_id),
                request.query_params,
                parse=lambda text: parse_id(Feedback.prefix, text),
                render=feedback.wire,
            )
        )

    @describe(
        name="feedback_create",
        takes=FeedbackGive,
        answers=schema.FEEDBACK,
        refuses={404: "The project's log holds no such request."},
        example={"request_id": "req_01m8hyccpze3abtvcq1zv6743v", "correct": False, "label": "refund"},
    )
    def post(self, request: Request) -> Response:
        """Give feedback

        Whether an answer was right. One word for each request: the latest counts, and the same twice changes nothing.
        """
        body = self.read(FeedbackGive)
        given = feedback.feedback_give(
            project=Project.objects.get(pk=self.caller.project_id),
            request_id=body["request_id"],
            correct=body["correct"],
            label=body.get("label", ""),
            created_by=self.caller.actor_label,
        )
        return Response(feedback.wire(given))


def whole(rollout: Rollout) -> dict[str, Any]:
    """A rollout with figures and history."""
    figures = outcomes.figures_of(rollout)
    arms = {
        arm: {
            "calls": found.calls,
            "errors": found.errors,
            "p50_ms": found.p50_ms,
            "p95_ms": found.p95_ms,
            "judged": found.judged,
            "wrong": found.wrong,
        }
        for arm, found in figures.items()
    }
    return selectors.rollout_wire(rollout) | {
        "figures": {STABLE: arms[STABLE], CANDIDATE: arms[CANDIDATE]},
        "shadow": outcomes.shadow_wire(rollout) if rollout.mode == Rollout.Mode.SHADOW else None,
        "events": [
            {
                "kind": event.kind,
                "message": event.message,
                "numbers": event.numbers or None,
                "created_at": int(event.created_at.timestamp()),
            }
            for event in selectors.rollout_events(rollout)
        ],
    }
