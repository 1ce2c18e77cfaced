"""Django's registration of the room."""

from django.apps import AppConfig


class CustomersConfig(AppConfig):
    """Customers."""

    name = "customers"
    label = "customers"
