"""Where the room answers: webhooks only. Pages of money belong to the console."""

from django.urls import path

from billing.webhook_views import stripe_webhook

urlpatterns = [path("webhooks/stripe", stripe_webhook, name="stripe_webhook")]
