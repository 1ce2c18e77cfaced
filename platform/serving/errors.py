"""What serving refuses."""

from kit.errors import BadRequest, Conflict


class AlreadyDeployed(Conflict):
    """The model has a deployment that is loading or live."""

    default_code = "already_deployed"


class NotDeployable(Conflict):
    """The model has no version whose files are there, or it is no classifier."""

    default_code = "not_deployable"


class DeploymentsFull(Conflict):
    """The plan allows no more active deployments."""

    default_code = "deployment_limit_exceeded"


class BaseNeedsNoDeployment(BadRequest):
    """Bases are served to everybody."""

    default_code = "base_model"
