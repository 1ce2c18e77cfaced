"""Paths under /v1."""

from django.urls import path

from data import api, dataset_api

urlpatterns = [
    path("files", api.FilesView.as_view()),
    path("files/<str:file_id>", api.FileView.as_view()),
    path("files/<str:file_id>/content", api.FileContentView.as_view()),
    path("files/<str:file_id>/findings", api.FindingsView.as_view()),
    path("files/<str:file_id>/findings/rows", api.FindingRowsView.as_view()),
    path("uploads", api.UploadsView.as_view()),
    path("uploads/<str:upload_id>/parts", api.UploadPartsView.as_view()),
    path("uploads/<str:upload_id>/complete", api.UploadCompleteView.as_view()),
    path("uploads/<str:upload_id>/cancel", api.UploadCancelView.as_view()),
    path("datasets", dataset_api.DatasetsView.as_view()),
    path("datasets/<str:dataset_id>", dataset_api.DatasetView.as_view()),
    path("datasets/<str:dataset_id>/versions", dataset_api.VersionsView.as_view()),
    path("datasets/<str:dataset_id>/versions/<str:version_id>", dataset_api.VersionView.as_view()),
    path("datasets/<str:dataset_id>/versions/<str:version_id>/rows", dataset_api.VersionRowsView.as_view()),
]
