"""API routes of the registry."""

from django.urls import path

from registry import api

urlpatterns = [
    path("models", api.ModelsView.as_view(), name="api-models"),
    path("models/<path:model>", api.ModelView.as_view(), name="api-model"),
]
