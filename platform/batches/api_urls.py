"""Routes under /v1."""

from django.urls import path

from batches import api

urlpatterns = [
    path("batches", api.BatchesView.as_view(), name="api-batches"),
    path("batches/<str:batch>", api.BatchView.as_view(), name="api-batch"),
    path("batches/<str:batch>/cancel", api.BatchCancelView.as_view(), name="api-batch-cancel"),
]
