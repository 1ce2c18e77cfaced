"""Why a deployment answers as it does: the words of a text, tinted, and the nearest rows of the training data."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from django import forms
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _

from console.playing.answers import AWAY
from console.views.base import Outside
from console.views.playground import WRONG, PlayView
from inference.errors import EngineError
from kit.charts.matrix import heat
from kit.errors import ApiError, NotFound, Unavailable
from serving import selectors
from serving.explaining import Piece, Why, explanation_try
from serving.models import Deployment

logger = logging.getLogger(__name__)

LEAST = 0.01
"""An effect that is shown at all."""
FULL = 0.05
"""The least effect that is tinted to the full, where no word has more."""
SHOWN_WORDS = 20


class WhyForm(forms.Form):
    """What is asked about."""

    deployment = forms.CharField(max_length=60)
    text = forms.CharField(max_length=20_000)


@dataclass(frozen=True, slots=True)
class Tinted:
    """A piece of the text as the page shows it; `against`: it makes the answer less likely."""

    text: str
    effect: float | None = None
    tone: str = ""
    against: bool = False


def tinted(pieces: list[Piece]) -> list[Tinted]:
    """Pieces with their tint, the deepest for the word that added most."""
    most = max([FULL, *(piece.effect or 0.0 for piece in pieces)])
    return [
        Tinted(
            piece.text,
            piece.effect,
            heat(piece.effect / most) if piece.effect is not None and piece.effect >= LEAST else "",
            piece.effect is not None and piece.effect <= -LEAST,
        )
        for piece in pieces
    ]


class PlaygroundWhy(PlayView):
    """Explain one answer of the playground: a call like any other, limited, metered and billed, without a key."""

    section = "playground"
    required_scopes = {"POST": "inference"}
    template_name = "console/playground_why.html"
    model_field = "deployment"

    def post(self, request: HttpRequest) -> HttpResponseBase | Outside:
        """Ask the model again, without each word."""
        form = WhyForm(request.POST)
        if not form.is_valid():
            self.refuse(WRONG)
            return self._show(problem=_("Write a text to explain, and choose a model."), status=422)
        try:
            found = selectors.deployment_by_id(self.project.pk, form.cleaned_data["deployment"])
        except NotFound:
            self.refuse()
            raise
        if found.state != Deployment.State.LIVE:
            self.refuse()
            return self._show(problem=_("This model is not live."), status=409)
        text = form.cleaned_data["text"]
        return Outside(lambda: self._ask(found, text), self._show_outcome)

    def _ask(self, deployment: Deployment, text: str) -> Why | ApiError:
        try:
            return explanation_try(deployment=deployment, text=text, user_id=self.request.user.pk)
        except ApiError as error:
            return error
        except EngineError:
            logger.exception("an explanation got no answer from the engine")
            return Unavailable(str(AWAY))

    def _show_outcome(self, outcome: Why | ApiError) -> HttpResponseBase:
        if isinstance(outcome, ApiError):
            return self._show(problem=outcome.message, status=outcome.status)
        return self._show(why=outcome, pieces=tinted(outcome.pieces), words=outcome.words[:SHOWN_WORDS])

    def _show(self, *, status: int = 200, **shown: Any) -> HttpResponseBase:
        if self.request.headers.get("hx-request"):
            status = 200  # with an error status htmx would leave the page as it is, and the error unseen
        crumbs = [{"label": _("Playground"), "href": self.project_path("playground")}]
        return self.page({"crumbs": crumbs, **shown}, status=status)
