"""Routes under /v1."""

from django.urls import path

from serving import api

urlpatterns = [
    path("deployments", api.DeploymentsView.as_view(), name="deployments"),
    path("deployments/<str:deployment>", api.DeploymentView.as_view(), name="deployment"),
]
