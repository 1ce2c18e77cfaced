"""The planner's form: every input with its words, read by the pure module alone, so that page, CSV and kept scenarios
refuse the same."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from billing.economics import EXAMPLE, FIELDS, PHASES, Inputs
from billing.economics.inputs import BUDGET, LONGEST, InputProblems
from ops.services import SHORTEST_REASON

WORDS: dict[str, tuple[Any, Any]] = {
    "market_size": (_("Market size"), _("Units: customers, sites, whatever is sold to.")),
    "fixed_cost": (_("Fixed cost"), _("Dollars, once, whatever the market's size. Empty: 0.")),
    "budget": (_("Budget"), _("The most dollars that may be spent. Empty: no limit.")),
    "data_cost": (_("Cost of data"), _("Dollars for each unit.")),
    "training_cost": (_("Cost of training"), _("Dollars for each day.")),
    "training_days": (_("Training days"), _("Days.")),
    "promotion_cost": (_("Cost of promotion"), _("Dollars for each unit.")),
    "promotion_effect": (_("Effect of promotion"), _("Dollars earned for each dollar of promotion.")),
    "adaptation_cost": (_("Cost of adaptation"), _("Dollars for each unit.")),
    "retention": (_("Retention"), _("Share of the units that stay, 0 to 1.")),
    "consumption": (_("Consumption"), _("Dollars that one who stays spends for each dollar of adaptation.")),
    "transactions": (_("Transactions of a unit"), _("How many each makes. Empty: 1.")),
    "transaction_cost": (_("Cost of a transaction"), _("Dollars, of each one, paid or not.")),
    "transaction_revenue": (_("Revenue of a transaction"), _("Dollars, of each one that is paid.")),
    "conversion": (_("Conversion"), _("Share of the transactions that are paid, 0 to 1.")),
}
GROUPS: tuple[tuple[Any, tuple[str, ...]], ...] = (
    (_("Market and money"), ("market_size", "fixed_cost", "budget")),
    (_("Data and training"), ("data_cost", "training_cost", "training_days")),
    (_("Promotion"), ("promotion_cost", "promotion_effect")),
    (_("Adaptation"), ("adaptation_cost", "retention", "consumption")),
    (_("Transactions"), ("transactions", "transaction_cost", "transaction_revenue", "conversion")),
)
PHASE_WORDS: dict[str, Any] = dict(
    zip(
        PHASES,
        (
            _("Fixed cost"),
            _("Data collection"),
            _("Training"),
            _("Promotion"),
            _("Adaptation"),
            _("Transactions"),
        ),
        strict=True,
    )
)
SHARES = (("0.05", "5%"), ("0.1", "10%"), ("0.2", "20%"), ("0.5", "50%"))
USUAL_SHARE = "0.1"
MISSING = "Enter a number, for example %s."


def label(name: str) -> Any:
    """What an input is called."""
    return WORDS[name][0]


def said(name: str, words: str) -> str:
    """A problem with the name of its input, because the summary on top shows it far from the field."""
    return f"{label(name)}: {words[:1].lower()}{words[1:]}"


class PlanForm(forms.Form):
    """A plan. After `is_valid`, `inputs` and `moved` (the share of the sensitivity) hold what was read."""

    share = forms.ChoiceField(
        label=_("Sensitivity"),
        help_text=_("How far each input is moved down and up."),
        choices=SHARES,
        required=False,
    )

    def __init__(self, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(data)
        self.inputs: Inputs | None = None
        self.moved = Fraction(USUAL_SHARE)
        for field in (*FIELDS.values(), BUDGET):
            self.fields[field.name] = forms.CharField(
                label=label(field.name),
                help_text=WORDS[field.name][1],
                required=False,
                max_length=LONGEST,
                widget=forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"}),
            )
            # The pure module says what is missing; the page marks only what may be left out.
            self.fields[field.name].required = field.default is None and field is not BUDGET
            self.fields[field.name].error_messages["required"] = said(field.name, MISSING % EXAMPLE.get(field.name, ""))

    def clean(self) -> dict[str, Any]:
        """Read the inputs; problems stand at their fields."""
        data: dict[str, Any] = super().clean() or {}
        names = [name for name in (*FIELDS, BUDGET.name) if name not in self.errors]
        try:
            self.inputs = Inputs.of({name: data.get(name) for name in names})
        except InputProblems as problems:
            for name, words in problems.problems.items():
                if name not in self.errors:
                    self.add_error(name, said(name, words))
        self.moved = Fraction(data.get("share") or USUAL_SHARE)
        return data

    def groups(self) -> list[tuple[Any, list[Any]]]:
        """The fields under their headings, in the order in which money is spent."""
        return [(title, [self[name] for name in names]) for title, names in GROUPS]

    def hidden(self) -> list[tuple[str, Any]]:
        """Name and text of each input, for a form that carries them along."""
        return [(name, self[name].value() or "") for name in WORDS]


class SaveForm(forms.Form):
    """What a kept plan is called, and why it is kept."""

    name = forms.CharField(label=_("Name"), max_length=80, help_text=_("Such as the market and the case meant."))
    reason = forms.CharField(
        label=_("Reason"),
        min_length=SHORTEST_REASON,
        max_length=300,
        help_text=_("Kept for ever in the staff log."),
    )
