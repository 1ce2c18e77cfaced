"""`/v1/limits`: which limits a key's calls must pass and what of them is used; `/v1/limits/decisions`: which calls they
refused, and why."""

from __future__ import annotations

from typing import Any, ClassVar

from rest_framework.request import Request
from rest_framework.response import Response

from billing import schema
from billing.models import QuotaDecision
from billing.selectors.decisions import LAYERS, SCOPES, DecisionFilter, decisions
from billing.selectors.limit_use import LimitUse, caller_use
from billing.selectors.limits import caller_limits
from billing.selectors.subscriptions import entitlement_for
from billing.services.stores import quota_store
from billing.usage_query import read_moment
from kit.errors import BadRequest
from kit.ids import parse_id, public_id
from kit.money import in_name, number
from kit.pages import cursor_page
from kit.schema import describe, paging, query
from tenants.api import TenantAPIView

KINDS = {
    "requests": "requests_per_minute",
    "tokens": "tokens_per_minute",
    "input_tokens": "input_tokens_per_minute",
    "output_tokens": "output_tokens_per_minute",
    "concurrency": "concurrency",
    "spend": "monthly_spend",
    "queued_jobs": "queued_jobs",
    "open_sweeps": "open_sweeps",
    "parallel_jobs": "parallel_jobs",
    "train_rows": "train_rows",
    "plan": "plan",
}
"""Words for what is limited, on the wire; the last five are of jobs."""
_UNITS = {
    "spend": "nano_usd",
    "concurrency": "calls",
    "queued_jobs": "jobs",
    "parallel_jobs": "jobs",
    "open_sweeps": "sweeps",
    "train_rows": "rows",
    "plan": "jobs",
}
_LAYERS = {word: layer for layer, word in SCOPES.items()}
_DECISION_FIELDS = [
    *paging(default=20, maximum=100, order=False),
    query("start_time", int, "Only from this moment on, Unix seconds.", example=1_795_219_200),
    query("end_time", int, "Only before this moment, Unix seconds.", example=1_795_898_464),
    query("project_id", str, "Only of this project."),
    query("api_key_id", str, "Only of calls with this key."),
    query("model", str, "Only of calls of this model."),
    query("scope", str, "Only by limits of this scope.", choices=tuple(SCOPES[layer] for layer in LAYERS)),
    query(
        "request_id",
        str,
        "Only the call with this id, which every answer has as `x-request-id`; or the job with this id.",
    ),
]


class LimitsView(TenantAPIView):
    """The limits of the calling key, of the member who made it, of its project, its models and its organisation."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": "usage.read"}

    @describe(name="limits_list", answers=schema.LIMITS)
    def get(self, request: Request) -> Response:
        """List limits

        Every limit a call of this key is checked against: the organisation's, its wallet's where that is one, its
        project's, those of the member who made the key, the key's own and, for calls of a model that has some, that
        model's. The narrowest decides. They are changed in the console, by owners and admins. Months are UTC.
        """
        caller = self.caller
        limits = caller_limits(project_id=caller.project_id, key_id=caller.key_id)
        entitlement = entitlement_for(caller.tenant_id)
        return Response(
            {
                "object": "list",
                "x_plan": {"code": entitlement.plan, "version": entitlement.plan_version},
                "data": [_limit(use) for use in caller_use(limits, quota_store())],
            }
        )


class OrganizationLimitsView(LimitsView):
    """The same under its first address."""

    @describe(name="organization_limits", answers=schema.LIMITS)
    def get(self, request: Request) -> Response:
        """List limits of the organisation

        The same as `GET /v1/limits`, under the address it had first.
        """
        return super().get(request)


def _kind(scope: str, kind: str) -> str:
    """What a limit limits; the wallet's money has no month."""
    return "funds" if (scope, kind) == ("wallet", "spend") else KINDS[kind]


def _limit(use: LimitUse) -> dict[str, Any]:
    limit = use.limit
    found: dict[str, Any] = {"object": "organization.limit", "scope": SCOPES[limit.scope]}
    found["kind"] = _kind(limit.scope, limit.kind)
    if use.model:
        found["model"] = use.model
    if limit.kind != "spend":
        return found | {"limit": limit.cap} | ({"used": use.used} if use.used is not None else {})
    used = {"used_usd": number(use.used), "x_used_nano": use.used} if use.used is not None else {}
    return found | {"limit_usd": number(limit.cap), "x_limit_nano": limit.cap} | used


class DecisionsView(TenantAPIView):
    """Why calls and jobs were refused."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": "usage.read"}

    @describe(name="limits_decisions_list", answers=schema.DECISIONS, fields=_DECISION_FIELDS)
    def get(self, request: Request) -> Response:
        """List refused calls and jobs

        Each call or job that a limit refused, with the limit, what it asked for and what was left; newest first, of the
        last 30 days. Refusals of one caller by one limit within a second are one entry. Of the whole organisation,
        whichever project the key is for. An entry shows within seconds of the refusal.
        """
        return Response(
            cursor_page(
                decisions(_wanted(request)),
                request.query_params,
                parse=lambda text: parse_id(QuotaDecision.prefix, text),
                render=decision_object,
            )
        )


def _wanted(request: Request) -> DecisionFilter:
    asked = request._request.GET
    for name in ("model", "request_id"):
        if "\x00" in asked.get(name, ""):
            raise BadRequest(f"'{name}' holds a character that no name has.", param=name)
    scope = asked.get("scope", "")
    if scope and scope not in _LAYERS:
        raise BadRequest(f"'scope' must be one of {', '.join(_LAYERS)}.", param="scope")
    return DecisionFilter(
        since=read_moment(asked, "start_time"),
        until=read_moment(asked, "end_time"),
        project_id=parse_id("proj_", asked["project_id"], param="project_id") if asked.get("project_id") else None,
        key_id=parse_id("key_", asked["api_key_id"], param="api_key_id") if asked.get("api_key_id") else None,
        model=asked.get("model", ""),
        layer=_LAYERS.get(scope, ""),
        request_id=asked.get("request_id", ""),
    )


def decision_object(row: QuotaDecision) -> dict[str, Any]:
    """A refusal on the wire. Money stands in nano like every other amount, with whole units beside it."""
    money = row.limit_kind == "spend"
    found: dict[str, Any] = {
        "id": row.public_id,
        "object": "organization.limit.decision",
        "created_at": int(row.at.timestamp()),
        "refused": row.refused,
        "request_ids": row.request_ids,
        "status": row.status,
        "reason": row.reason,
        "project_id": public_id("proj_", row.project_id),
        "api_key_id": public_id("key_", row.key_id) if row.key_id else None,
        "model": row.model,
        "kind": row.kind,
        "scope": SCOPES[row.layer],
        "limit": {
            "kind": _kind(row.layer, row.limit_kind),
            "value": row.cap,
            "unit": in_name(_UNITS.get(row.limit_kind, row.limit_kind)),
        },
        "asked": row.asked,
        "remaining": row.remaining,
        "wait_ms": row.wait_ms,
    }
    if money:
        found["x_limit_usd"], found["x_asked_usd"] = number(row.cap), number(row.asked)
    return found
