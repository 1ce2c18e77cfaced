"""Addresses of the pages."""

from django.urls import include, path

from console.views import billing, docs, home, public

app_name = "console"
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
    path("o/<slug:org>/p/<slug:project>/", home.Overview.as_view(), name="overview"),
]
