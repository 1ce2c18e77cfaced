"""Routes under /v1."""

from django.urls import path

from serving import api, requests_api, rollouts_api

urlpatterns = [
    path("deployments", api.DeploymentsView.as_view(), name="deployments"),
    path("deployments/<str:deployment>", api.DeploymentView.as_view(), name="deployment"),
    path("rollouts", rollouts_api.RolloutsView.as_view(), name="rollouts"),
    path("rollouts/<str:rollout>", rollouts_api.RolloutView.as_view(), name="rollout"),
    path("rollouts/<str:rollout>/promote", rollouts_api.RolloutPromoteView.as_view(), name="rollout_promote"),
    path("rollouts/<str:rollout>/rollback", rollouts_api.RolloutRollbackView.as_view(), name="rollout_rollback"),
    path("feedback", rollouts_api.FeedbackView.as_view(), name="feedback"),
    path("requests", requests_api.RequestsView.as_view(), name="requests"),
    path("requests/figures", requests_api.RequestFiguresView.as_view(), name="request_figures"),
    path("requests/<str:request_id>", requests_api.RequestView.as_view(), name="request"),
]
