"""Engines of a deployment's own: the form, what it would cost, and how they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing.services.engines import engine_price
from console.pricing import HOURS_OF_MONTH
from serving import metering, pools
from serving.models import Dedicated, Deployment
from serving.pools import Room, Wish
from serving.serializers import DAY, MOST_REPLICAS

MINUTE, HOUR = 60, 3600
USUAL = Wish()


class EnginesForm(forms.Form):
    """Whether a deployment has engines of its own, and how many."""

    api_names: ClassVar[dict[str, str]] = {"dedicated": "most"}

    own = forms.BooleanField(label=gettext_lazy("Give it engines of its own"), required=False)
    least = forms.IntegerField(
        label=gettext_lazy("At least"), min_value=0, max_value=MOST_REPLICAS, initial=USUAL.replicas_min
    )
    most = forms.IntegerField(
        label=gettext_lazy("At most"), min_value=1, max_value=MOST_REPLICAS, initial=USUAL.replicas_max
    )
    idle_minutes = forms.IntegerField(
        label=gettext_lazy("Minutes without a call until only the least stay"),
        min_value=1,
        max_value=DAY // MINUTE,
        initial=USUAL.idle_seconds // MINUTE,
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.is_bound:  # what is not sent has its usual value; what is sent empty is missing
            for name in ("least", "most", "idle_minutes"):
                self.fields[name].required = name in self.data and bool(self.data.get("own"))

    def clean(self) -> dict[str, Any]:
        """The least cannot be more than the most."""
        clean = super().clean() or self.cleaned_data
        wish = _wish(clean)
        if clean.get("own") and not self.errors and wish.replicas_min > wish.replicas_max:
            self.add_error("least", _("More than at most."))
        return clean

    def wish(self) -> Wish | None:
        """What is wanted; None for the shared engines."""
        return _wish(self.cleaned_data) if self.cleaned_data.get("own") else None


def _wish(clean: dict[str, Any]) -> Wish:
    def value(name: str, usual: int) -> int:
        found = clean.get(name)
        return usual if found is None else int(found)

    return Wish(
        value("least", USUAL.replicas_min),
        value("most", USUAL.replicas_max),
        value("idle_minutes", USUAL.idle_seconds // MINUTE) * MINUTE,
    )


@dataclass(frozen=True, slots=True)
class EnginePrice:
    """What engines of its own cost, in nano; a month has 730 hours."""

    least: int
    most: int
    hour: int

    @property
    def month_least(self) -> int:
        """The fewest, all month."""
        return self.least * self.hour * HOURS_OF_MONTH

    @property
    def month_most(self) -> int:
        """As many as there may be, all month."""
        return self.most * self.hour * HOURS_OF_MONTH


def price_of(model: str, least: object, most: object) -> EnginePrice:
    """The price of what is being filled in; what is no number yet counts as usual."""
    fewest, top = _number(least, USUAL.replicas_min), _number(most, USUAL.replicas_max)
    return EnginePrice(fewest, max(fewest, top), engine_price(model=model, seconds=HOUR))


def _number(value: object, usual: int) -> int:
    text = str(value if value is not None else "").strip()
    return min(int(text), MOST_REPLICAS) if len(text) <= 4 and text.isascii() and text.isdecimal() else usual


def price_in(form: EnginesForm, model: str) -> EnginePrice:
    """The price of what stands in a form."""
    return price_of(model, form["least"].value(), form["most"].value())


@dataclass(frozen=True, slots=True)
class NoEngines:
    """Why a deployment cannot have engines of its own; `billing`: whether a larger plan would help."""

    words: str
    billing: bool = False


def no_engines(room: Room) -> NoEngines | None:
    """What stands against engines of its own; None where nothing does."""
    if not room.offered:
        return NoEngines(_("This installation offers none. The shared engines serve the model at no idle cost."))
    if not room.planned:
        return NoEngines(_("Your plan has none. The shared engines serve the model at no idle cost."), billing=True)
    if room.own >= min(room.most, room.planned):
        words = _("Your organisation has as many as it may have: %(n)s.") % {"n": min(room.most, room.planned)}
        return NoEngines(words, billing=room.planned < room.most)
    if room.taken >= room.offered:
        return NoEngines(_("All that this installation offers are promised to others. Ask its operator for more."))
    return None


@dataclass(frozen=True, slots=True)
class OwnEngines:
    """The panel of a deployment. `row` is None where the shared engines serve it; `refused` then says why it has to."""

    row: Dedicated | None
    form: EnginesForm
    price: EnginePrice
    refused: NoEngines | None
    active: bool
    """Whether the deployment has not ended."""
    state: str = ""
    starting: int = 0
    seconds: int = 0
    cost: int = 0
    cold_seconds: float | None = None


def own_engines(deployment: Deployment, form: EnginesForm | None = None) -> OwnEngines:
    """The panel, with a form that was filled in wrongly."""
    row = deployment.dedicated if hasattr(deployment, "dedicated") else None
    room = pools.room(besides=deployment)
    seconds, cost = metering.month_of_engines(deployment)
    if form is None:
        form = EnginesForm(initial=_initial(row))
    price, active = price_in(form, deployment.model.name), deployment.state in pools.ACTIVE
    if row is None:
        return OwnEngines(None, form, price, no_engines(room) if active else None, active, seconds=seconds, cost=cost)
    return OwnEngines(
        row,
        form,
        price,
        None,
        active,
        state=engines_state(row),
        starting=max(0, row.wanted - row.ready),
        seconds=seconds,
        cost=cost,
        cold_seconds=None if row.cold_start_ms is None else row.cold_start_ms / 1000,
    )


def engines_state(row: Dedicated) -> str:
    """How they are, as `console.states` has it."""
    return f"engines_{pools.state_of(row).value}"


def _initial(row: Dedicated | None) -> dict[str, Any]:
    if row is None:
        return {"own": True}
    idle = row.idle_seconds // MINUTE
    return {"own": True, "least": row.replicas_min, "most": row.replicas_max, "idle_minutes": idle}
