"""Dressing Django form fields for the look: classes and ARIA, without touching the forms themselves."""

from dataclasses import dataclass
from typing import Any

from django import forms, template
from django.forms.boundfield import BoundField
from django.utils.safestring import SafeString

register = template.Library()


@dataclass(frozen=True, slots=True)
class Problem:
    """One line of the error summary."""

    text: str
    target: str
    name: str = ""
    """The field's label."""


@register.filter
def styled(field: BoundField, mono: Any = "") -> SafeString:
    """The field's widget with the look's classes, its hint and error wired for screen readers."""
    attrs: dict[str, Any] = {}
    if not isinstance(field.field.widget, forms.CheckboxInput):
        css = field.field.widget.attrs.get("class", "")
        attrs["class"] = f"{css} input{' input-mono' if mono else ''}".strip()
    described = [f"{field.auto_id}_hint"] if field.help_text else []
    if field.errors:
        attrs["aria-invalid"] = "true"
        described.append(f"{field.auto_id}_error")
    if described:
        attrs["aria-describedby"] = " ".join(described)
    return field.as_widget(attrs=attrs)


@register.filter
def is_choices(field: BoundField) -> bool:
    """Whether the field is a group of radio buttons or checkboxes."""
    return isinstance(field.field.widget, forms.RadioSelect | forms.CheckboxSelectMultiple)


@register.filter
def problems(form: Any, more: Any = None) -> list[Problem]:
    """All errors of a form (and further ones), each with the id of the input to go to."""
    found: list[Problem] = []
    for one in [form, *(more or [])]:
        if one is None or not getattr(one, "is_bound", False):
            continue
        found += [Problem(str(error), "") for error in one.non_field_errors()]
        for field in one:
            target = field.auto_id if is_choices(field) else field.id_for_label
            found += [Problem(str(error), target, str(field.label)) for error in field.errors]
    return found
