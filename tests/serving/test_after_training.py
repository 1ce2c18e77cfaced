"""`x_deploy`: a job's model is served once its gate has passed, and not otherwise."""

from typing import Any

import pytest

from registry.models import ModelVersion
from serving.after_training import TASK_NAME, deploy_when_gate_passes
from serving.models import Deployment
from tenants.scope import tenant_scope
from tests.conftest import Cast
from tests.registry.making import make_model
from training.services.endings import DEPLOY


def test_training_rings_the_task_that_serving_listens_with() -> None:
    assert DEPLOY == TASK_NAME


@pytest.mark.parametrize(("passed", "code", "deployments"), [(True, "deploying", 1), (False, "gate_failed", 0)])
def test_the_gate_decides(cast: Cast, passed: bool, code: str, deployments: int) -> None:
    version = make_model(cast.owner)
    with tenant_scope(cast.owner.tenant.id):
        report: dict[str, Any] = version.report | {"gate": {"passed": passed, "reasons": [{"message": "Worse."}]}}
        ModelVersion.objects.filter(pk=version.pk).update(report=report)
    assert deploy_when_gate_passes(tenant_id=cast.owner.tenant.id, version_id=version.pk) == code
    with tenant_scope(cast.owner.tenant.id):
        assert Deployment.objects.count() == deployments
    again = deploy_when_gate_passes(tenant_id=cast.owner.tenant.id, version_id=version.pk)
    assert again == ("not_deployed" if passed else "gate_failed"), "a second ring deploys nothing more"


def test_a_foreign_version_is_nothing_to_deploy(cast: Cast) -> None:
    version = make_model(cast.owner)
    assert deploy_when_gate_passes(tenant_id=cast.stranger.tenant.id, version_id=version.pk) == "gone"
