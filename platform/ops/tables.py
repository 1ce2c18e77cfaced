"""Every table of every room, read-only. Rooms that land later appear by themselves; a few have a class of their own."""

import contextlib
from typing import Any, ClassVar

from django.apps import apps
from django.conf import settings
from django.db import models
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from kit.ids import LENGTH, decode
from ops import saying
from tenants.models import OpsManager
from tenants.scope import OPS

SECRET = frozenset({"password", "secret_hash", "secret", "old_secret", "token_hash", "lease_token", "lease", "answer"})
"""Columns no page shows, staff included. An `answer` kept for a repeated create may hold what is shown once."""
TELLING = ("status", "state", "standing", "plan", "role", "kind", "action", "type", "task", "method", "email", "name")
MOMENTS = ("at", "created_at", "received_at", "occurred_at", "heartbeat_at", "fetched_at", "hour", "day", "period")
FILTERS = ("status", "state", "standing", "plan", "role", "kind", "task", "method", "account", "action", "is_staff")


class ReadOnly(ModelAdmin):
    """A table to look at: nothing is added, changed or deleted here. Rows come through the ops role."""

    list_per_page = 50
    show_full_result_count = False
    list_disable_select_all = True
    actions = None
    compressed_fields = True
    hidden: ClassVar[frozenset[str]] = SECRET
    """Columns that are left out."""
    first: ClassVar[tuple[str, ...]] = ()
    """What a row's page shows before the other columns: columns, or methods here."""
    only: ClassVar[tuple[str, ...]] = ()
    """What a row's page shows instead of its columns."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name, method in list(vars(cls).items()):
            if hasattr(method, "short_description"):  # what `admin.display` leaves on a method
                setattr(cls, name, saying.in_its_currency(method))

    def __init__(self, model: type[models.Model], admin_site: Any) -> None:
        super().__init__(model, admin_site)
        self._said: dict[str, str] = {}
        for field in model._meta.fields:
            say = saying.of(field)
            if say is not None:
                self._said[field.name] = f"{field.name}_said"
                setattr(self, self._said[field.name], saying.column(field, say))

    def get_queryset(self, request: HttpRequest) -> "models.QuerySet[Any]":
        """Rows of every tenant; the site has opened the ops scope."""
        manager = getattr(self.model, "ops", None)
        if isinstance(manager, OpsManager):
            rows = manager.get_queryset()
        else:
            rows = self.model._base_manager.using(OPS)
        ordering = self.get_ordering(request)
        return rows.order_by(*ordering) if ordering else rows

    def get_list_select_related(self, request: HttpRequest) -> Any:
        """References of the list, and the organisation, whose currency says what amounts are in: in its own query."""
        told = super().get_list_select_related(request)
        keys = {field.name for field in self.model._meta.fields if field.many_to_one}
        named = told if isinstance(told, list | tuple) else keys.intersection(self.list_display)
        return told if told is True else sorted({*named, *(keys & {"tenant"})}) or False

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Rooms add rows, staff do not."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Staff act through actions with a reason."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never here."""
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whoever passed the door of the site."""
        return True

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Every table is listed."""
        return True

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """All of them; a form field of a reference would list other tenants' rows."""
        columns = [field.name for field in (*self.model._meta.fields, *self.model._meta.many_to_many)]
        rest = [name for name in columns if name not in self.hidden and name not in self.first]
        return [self._said.get(name, name) for name in self.only or (*self.first, *rest)]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """In the same order."""
        return self.get_readonly_fields(request, obj)

    def get_exclude(self, request: HttpRequest, obj: Any = None) -> Any:
        """No column is a form field."""
        return [field.name for field in (*self.model._meta.fields, *self.model._meta.many_to_many)]

    def get_list_display(self, request: HttpRequest) -> Any:
        """Money, times and shares as people read them."""
        return [self._said.get(name, name) for name in self.list_display]

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        """A filter in the address must not guess what the page hides, letter by letter."""
        if self.hidden & set(lookup.split("__")):
            return False
        return bool(super().lookup_allowed(lookup, value, request))

    def get_search_results(
        self, request: HttpRequest, queryset: "models.QuerySet[Any]", search_term: str
    ) -> tuple["models.QuerySet[Any]", bool]:
        """A public id finds its row; anything else is searched as text."""
        wanted = search_term.strip()
        if len(wanted) >= LENGTH and isinstance(self.model._meta.pk, models.UUIDField):
            with contextlib.suppress(ValueError):
                return queryset.filter(pk=decode(wanted[-LENGTH:])), False
        found: tuple[models.QuerySet[Any], bool] = super().get_search_results(request, queryset, search_term)
        return found


def cheap_filter(field: "models.Field[Any, Any]") -> bool:
    """Whether a filter knows its values without reading the whole table, which may hold a row for every call."""
    return field.name in FILTERS and bool(field.choices or isinstance(field, models.BooleanField))


def generic(model: type[models.Model], **attributes: Any) -> type[ReadOnly]:
    """A read-only admin of a table, its columns chosen by their names. References are read in the list's own query."""
    hidden = attributes.setdefault("hidden", SECRET)
    names = {field.name for field in model._meta.fields} - hidden
    tenant = ["tenant"] if "tenant" in names else []
    money = [name for name in sorted(names) if name.endswith("_nano")][:2]
    columns = [*["__str__", *tenant, *(name for name in TELLING if name in names)][:6], *money]
    moment = next((name for name in MOMENTS if name in names), "")
    texts = [
        field.name
        for field in model._meta.fields
        if isinstance(field, models.CharField | models.TextField) and field.name in names and not field.choices
    ][:4]
    values: dict[str, Any] = {
        "__doc__": f"{model.__name__}, read-only.",
        "list_display": [*columns, moment] if moment else columns,
        "list_filter": [field.name for field in model._meta.fields if field.name in names and cheap_filter(field)][:3],
        "search_fields": [*texts, *(["tenant__slug", "tenant__name"] if tenant else [])] or ["pk"],
        "ordering": [f"-{moment}" if moment else "-pk"],
        "list_select_related": [field.name for field in model._meta.fields if field.many_to_one],
        **attributes,
    }
    return type(f"{model.__name__}Table", (ReadOnly,), values)


def plural(word: str) -> str:
    """Django's plural (an appended s) put right: entrys → entries, pushs → pushes."""
    if word.endswith("ys") and word[-3:-2] not in "aeiou":
        return word[:-2] + "ies"
    return word[:-1] + "es" if word.endswith(("shs", "chs", "xs")) else word


def register_all(site: Any, own: dict[type[models.Model], type[ReadOnly]]) -> None:
    """Register each room's tables: its own class where there is one, the generic one otherwise."""
    for room in settings.ROOMS:
        for model in apps.get_app_config(room).get_models():
            if not model._meta.auto_created:
                model._meta.verbose_name_plural = plural(str(model._meta.verbose_name_plural))
                site.register(model, own.get(model) or generic(model))
