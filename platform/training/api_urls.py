"""API routes of training."""

from django.urls import path

from training import api, sweep_api

urlpatterns = [
    path("fine_tuning/jobs", api.JobsView.as_view(), name="api-jobs"),
    path("fine_tuning/jobs/estimate", api.EstimateView.as_view(), name="api-jobs-estimate"),
    path("fine_tuning/jobs/<str:job>", api.JobView.as_view(), name="api-job"),
    path("fine_tuning/jobs/<str:job>/cancel", api.CancelView.as_view(), name="api-job-cancel"),
    path("fine_tuning/jobs/<str:job>/pause", api.PauseView.as_view(), name="api-job-pause"),
    path("fine_tuning/jobs/<str:job>/resume", api.ResumeView.as_view(), name="api-job-resume"),
    path("fine_tuning/jobs/<str:job>/retry", api.RetryView.as_view(), name="api-job-retry"),
    path("fine_tuning/jobs/<str:job>/clone", api.CloneView.as_view(), name="api-job-clone"),
    path("fine_tuning/jobs/<str:job>/stream", api.StreamView.as_view(), name="api-job-stream"),
    path("fine_tuning/jobs/<str:job>/events", api.EventsView.as_view(), name="api-job-events"),
    path("fine_tuning/jobs/<str:job>/checkpoints", api.CheckpointsView.as_view(), name="api-job-checkpoints"),
    path("fine_tuning/jobs/<str:job>/report", api.ReportView.as_view(), name="api-job-report"),
    path("fine_tuning/jobs/<str:job>/metrics", api.MetricsView.as_view(), name="api-job-metrics"),
    path("fine_tuning/sweeps", sweep_api.SweepsView.as_view(), name="api-sweeps"),
    path("fine_tuning/sweeps/estimate", sweep_api.SweepEstimateView.as_view(), name="api-sweeps-estimate"),
    path("fine_tuning/sweeps/<str:sweep>", sweep_api.SweepView.as_view(), name="api-sweep"),
    path("fine_tuning/sweeps/<str:sweep>/cancel", sweep_api.SweepCancelView.as_view(), name="api-sweep-cancel"),
    path("fine_tuning/sweeps/<str:sweep>/losers", sweep_api.SweepLosersView.as_view(), name="api-sweep-losers"),
    path(
        "fine_tuning/sweeps/<str:sweep>/losers/restore",
        sweep_api.SweepLosersRestoreView.as_view(),
        name="api-sweep-losers-restore",
    ),
    path("fine_tuning/sweeps/<str:sweep>/trials", sweep_api.SweepTrialsView.as_view(), name="api-sweep-trials"),
]
