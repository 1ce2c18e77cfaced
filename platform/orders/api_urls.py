"""Routes under /v1."""

from django.urls import path

from orders import api

urlpatterns = [
    path("orders", api.OrdersView.as_view(), name="api-orders"),
    path("orders/<str:order>", api.OrderView.as_view(), name="api-order"),
    path("orders/<str:order>/cancel", api.OrderCancelView.as_view(), name="api-order-cancel"),
    path("orders/<str:order>/events", api.OrderEventsView.as_view(), name="api-order-events"),
]
