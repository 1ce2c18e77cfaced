"""Deployments, their engines, the log of requests, rollouts, and what people said of answers."""

from serving.models.counts import RolloutCount, ShadowCount
from serving.models.deployments import (
    Deployment,
    DeploymentEvent,
    Feedback,
    IdleRule,
    RequestRecord,
    RequestText,
    Rollout,
    RolloutEvent,
    TextKeeping,
)
from serving.models.engines import Dedicated, Replica

__all__ = [
    "Dedicated",
    "Deployment",
    "DeploymentEvent",
    "Feedback",
    "IdleRule",
    "Replica",
    "RequestRecord",
    "RequestText",
    "Rollout",
    "RolloutCount",
    "RolloutEvent",
    "ShadowCount",
    "TextKeeping",
]
