"""Which column of a file is what, as selects: the columns that are there, the detected ones chosen already."""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from data.columns import ALLOWED, CHAT, CLASSIFICATION, NEEDED, PAIRS
from data.errors import InvalidColumns
from data.models import File
from data.roles import check_once

ROLE_WORDS: dict[str, str | Promise] = {
    "text": gettext_lazy("Text"),
    "label": gettext_lazy("Label"),
    "messages": gettext_lazy("Messages"),
    "tools": gettext_lazy("Tools"),
    "prompt": gettext_lazy("Prompt"),
    "completion": gettext_lazy("Completion"),
    "split": gettext_lazy("Split"),
}
HINTS: dict[str, str | Promise] = {
    "split": gettext_lazy("A column with train, validation and test."),
    "tools": gettext_lazy("The functions a conversation may call."),
}
TASK_WORDS: dict[str, str | Promise] = {
    CLASSIFICATION: gettext_lazy("Labelled text"),
    CHAT: gettext_lazy("Conversations"),
    PAIRS: gettext_lazy("Prompts with completions"),
}


def column_choices(file: File, empty: str) -> list[tuple[str, str]]:
    """The file's columns; what nobody needs is told apart by nothing, so the order is the file's."""
    return [("", empty), *((str(guess["column"]), str(guess["column"])) for guess in file.columns)]


class ColumnsForm(forms.Form):
    """The columns of one task; `task` says how the rows are read."""

    task = forms.ChoiceField(choices=list(TASK_WORDS.items()), widget=forms.HiddenInput, required=False)

    def __init__(self, file: File, data: Any = None, *, task: str = "") -> None:
        super().__init__(data)
        asked = str(data.get("task", "")) if data is not None else task
        self.read_as = asked if asked in TASK_WORDS else file.task or CLASSIFICATION
        self.fields["task"].initial = self.read_as
        roles = file.roles
        for role in ALLOWED[self.read_as]:
            needed = role in NEEDED[self.read_as]
            self.fields[role] = forms.ChoiceField(
                label=str(ROLE_WORDS[role]),
                choices=column_choices(file, _("choose a column") if needed else _("none")),
                required=needed,
                initial=roles.get(role, ""),
                help_text=str(HINTS.get(role, "")),
                error_messages={
                    "required": _("Choose the column."),
                    "invalid_choice": _("The file has no column “%(value)s”. Choose one of the list."),
                },
            )

    def clean(self) -> dict[str, Any]:
        """No column twice."""
        clean = super().clean() or {}
        once(self, self.mapping())
        return clean

    def mapping(self) -> dict[str, str]:
        """Role → column, without the empty ones; a detected split that was taken away is ignored from now on."""
        chosen = {role: self.cleaned_data[role] for role in ALLOWED[self.read_as] if self.cleaned_data.get(role)}
        detected = self.fields["split"].initial
        if detected and not self.cleaned_data.get("split") and detected not in chosen.values():
            chosen["ignore"] = str(detected)
        return chosen


def once(form: forms.Form, mapping: Mapping[str, str], names: Mapping[str, str] | None = None) -> None:
    """Say on its field that a column is named twice; `names` are the form's fields where they differ from the roles."""
    try:
        check_once(mapping)
    except InvalidColumns as error:
        role = (error.param or "").removeprefix("columns.")
        other = next(name for name, column in mapping.items() if column == mapping[role])
        message = _("“%(column)s” is the %(other)s already. Choose another column here or there.") % {
            "column": mapping[role][:80],
            "other": str(ROLE_WORDS[other]).lower(),
        }
        form.add_error((names or {}).get(role, role), message)
