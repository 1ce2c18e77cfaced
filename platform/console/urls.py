"""Addresses of the pages."""

from django.urls import include, path

from console.views import billing, datasets, deployments, docs, home, job_stream, jobs, models, public, usage

app_name = "console"
project_patterns = [
    path("", home.Overview.as_view(), name="overview"),
    path("datasets/", datasets.Datasets.as_view(), name="datasets"),
    path("datasets/new", datasets.Upload.as_view(), name="dataset_new"),
    path("datasets/sample", datasets.Sample.as_view(), name="dataset_sample"),
    path("datasets/<str:dataset>/", datasets.DatasetPage.as_view(), name="dataset"),
    path("datasets/<str:dataset>/fix", datasets.DatasetFix.as_view(), name="dataset_fix"),
    path("datasets/<str:dataset>/delete", datasets.DatasetDelete.as_view(), name="dataset_delete"),
    path("files/<str:file>/", datasets.FilePage.as_view(), name="file"),
    path("files/<str:file>/columns", datasets.FileColumns.as_view(), name="file_columns"),
    path("files/<str:file>/dataset", datasets.FileDataset.as_view(), name="file_dataset"),
    path("files/<str:file>/delete", datasets.FileDelete.as_view(), name="file_delete"),
    path("jobs/", jobs.Jobs.as_view(), name="jobs"),
    path("jobs/new", jobs.JobNew.as_view(), name="job_new"),
    path("jobs/estimate", jobs.JobEstimate.as_view(), name="job_estimate"),
    path("jobs/<str:job>/", jobs.JobPage.as_view(), name="job"),
    path("jobs/<str:job>/cancel", jobs.JobCancel.as_view(), name="job_cancel"),
    path("jobs/<str:job>/stream", job_stream.job_stream, name="job_stream"),
    path("models/", models.Models.as_view(), name="models"),
    path("models/<str:model>/", models.ModelPage.as_view(), name="model"),
    path("models/<str:model>/csv", models.ModelCsv.as_view(), name="model_csv"),
    path("models/<str:model>/weights", models.ModelWeights.as_view(), name="model_weights"),
    path("models/<str:model>/delete", models.ModelDelete.as_view(), name="model_delete"),
    path("deployments/", deployments.Deployments.as_view(), name="deployments"),
    path("deployments/<str:deployment>/", deployments.DeploymentPage.as_view(), name="deployment"),
    path("deployments/<str:deployment>/stop", deployments.DeploymentStop.as_view(), name="deployment_stop"),
    path("playground/", deployments.Playground.as_view(), name="playground"),
]
urlpatterns = [
    path("", include("console.people.urls")),
    path("", public.landing, name="landing"),
    path("pricing", public.pricing, name="pricing"),
    path("docs/", docs.chapter, name="docs"),
    path("docs/api/", docs.api, name="docs_api"),
    path("docs/api/<slug:group>", docs.api, name="docs_api_group"),
    path("docs/<slug:slug>", docs.chapter, name="docs_chapter"),
    path("styleguide", public.styleguide, name="styleguide"),
    path("theme", public.theme, name="theme"),
    path("keys", public.key_preference, name="key_preference"),
    path("search", home.search, name="search"),
    path("o/<slug:org>/", home.Organisation.as_view(), name="organisation"),
    path("o/<slug:org>/billing/", billing.Billing.as_view(), name="billing"),
    path("o/<slug:org>/billing/checkout", billing.Checkout.as_view(), name="billing_checkout"),
    path("o/<slug:org>/billing/portal", billing.Portal.as_view(), name="billing_portal"),
    path("o/<slug:org>/billing/plan", billing.PlanChange.as_view(), name="billing_plan"),
    path("o/<slug:org>/usage/", usage.Usage.as_view(), name="usage"),
    path("o/<slug:org>/usage/csv", usage.UsageCsv.as_view(), name="usage_csv"),
    path("o/<slug:org>/p/<slug:project>/", include(project_patterns)),
]
