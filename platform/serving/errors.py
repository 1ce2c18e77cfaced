"""What serving refuses."""

from kit.errors import BadRequest, Conflict, NotFound, PaymentRequired, Unavailable


class AlreadyDeployed(Conflict):
    """The version has a deployment that is loading or live."""

    default_code = "already_deployed"


class NotDeployable(Conflict):
    """The model is deleted, or its task or its number of labels is none that can be served."""

    default_code = "not_deployable"


class DeploymentsFull(Conflict):
    """The plan allows no more active deployments."""

    default_code = "deployment_limit_exceeded"


class DedicatedNotOffered(BadRequest):
    """The operator keeps no engines for single deployments."""

    default_code = "dedicated_not_offered"


class DedicatedNotInPlan(Conflict):
    """The organisation's plan has no engines for single deployments."""

    default_code = "dedicated_not_in_plan"


class DedicatedFull(Conflict):
    """All engines that the operator keeps for single deployments are promised."""

    default_code = "dedicated_full"


class ModelCold(Unavailable):
    """Engines of the deployment's own are being started, and none was ready in time."""

    default_code = "model_cold"

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"The deployment had no engine, because nobody called it for a while. One is being started and was not "
            f"ready within {seconds:.0f} seconds. Try again in a moment, or deploy with replicas_min 1.",
            headers={"retry-after": "5", "x-model-state": "cold"},
        )


class EnginesHalted(PaymentRequired):
    """No spend limit carries the deployment's own engines any more."""

    def __init__(self) -> None:
        super().__init__(
            "The engines of this deployment's own were stopped, because a monthly spend limit no longer carries them. "
            "Raise the limit under Billing, go back to the shared engines, or wait for the next billing period."
        )


class BaseNeedsNoDeployment(BadRequest):
    """Bases are served to everybody."""

    default_code = "base_model"


class NotLive(Conflict):
    """What a rollout or an alias needs live is not."""

    default_code = "not_live"


class RolloutRunning(Conflict):
    """The alias has a rollout that runs."""

    default_code = "rollout_running"


class RolloutEnded(Conflict):
    """The rollout has ended."""

    default_code = "rollout_ended"


class AliasMoved(Conflict):
    """The alias stands for a version that is neither of the rollout's."""

    default_code = "alias_moved"


class NotComparable(BadRequest):
    """The two versions cannot stand for one name."""

    default_code = "not_comparable"


class RequestUnknown(NotFound):
    """No request of that id in the project's log; the same words whether it never was or is somebody else's."""

    default_code = "request_not_found"


class SpanTooLarge(BadRequest):
    """Figures over more requests than can be added up while somebody waits."""

    default_code = "span_too_large"
