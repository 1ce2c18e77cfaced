"""Routes under /v1."""

from django.urls import path

from hooks import api

ONE = "webhook_endpoints/<str:webhook_endpoint>"

urlpatterns = [
    path("webhook_event_types", api.EventTypesView.as_view(), name="webhook_event_types"),
    path("webhook_endpoints", api.EndpointsView.as_view(), name="webhook_endpoints"),
    path(ONE, api.EndpointView.as_view(), name="webhook_endpoint"),
    path(f"{ONE}/rotate_secret", api.RotateView.as_view(), name="webhook_endpoint_rotate"),
    path(f"{ONE}/test", api.TestView.as_view(), name="webhook_endpoint_test"),
    path(f"{ONE}/deliveries", api.DeliveriesView.as_view(), name="webhook_endpoint_deliveries"),
    path(f"{ONE}/deliveries/<str:delivery>/replay", api.ReplayView.as_view(), name="webhook_endpoint_replay"),
]
