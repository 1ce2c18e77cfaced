"""Addresses of the pages."""

from django.urls import path

from console.views import public

app_name = "console"
urlpatterns = [
    path("", public.landing, name="landing"),
    path("styleguide", public.styleguide, name="styleguide"),
    path("theme", public.theme, name="theme"),
    path("keys", public.key_preference, name="key_preference"),
]
