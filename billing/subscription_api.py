"""`/v1/billing/plans` and `/v1/billing/subscription`: what can be had, what the organisation has, and its change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from rest_framework.request import Request
from rest_framework.response import Response

from billing import subscription_schema as schema
from billing.models import StripeCommand
from billing.plans import Plan
from billing.selectors import dunning, subscriptions
from billing.selectors.commands import commands_pending
from billing.selectors.items import seats_bought
from billing.serializers import Nothing, PlanChange, PlanPreview
from billing.services import subscriptions as services
from billing.services.commands import command_finish
from billing.services.pins import pin_end, pin_make, pin_read
from kit.clock import unix
from kit.errors import Conflict
from kit.ids import parse_id
from kit.money import currency, number
from kit.schema import describe
from tenants.api import OutsideView, TenantAPIView
from tenants.scope import tenant_scope

REFUSES = {
    402: "The card was refused; nothing was charged and the plan stays.",
    409: "There is no subscription, it has this plan already, the plan is not sold online, or a change waits.",
    503: "The payment provider does not answer; nothing was changed.",
}


class PlansView(TenantAPIView):
    """The catalogue."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": "usage.read"}

    @describe(name="billing_plans", answers=schema.PLANS)
    def get(self, request: Request) -> Response:
        """List plans

        The plans of today, smallest first, with every way to pay them, what they include and their limits. A plan that
        is sold, but not in the organisation's currency, is not among them. A subscription keeps the version it was
        bought at.
        """
        mine = currency()
        offered = [plan for plan in subscriptions.plans_offered() if not plan.sold_online or mine in plan.currencies]
        return Response({"object": "list", "data": [_plan(plan) for plan in offered]})


def _plan(plan: Plan) -> dict[str, Any]:
    limits = plan.limits
    return {
        "id": plan.code,
        "object": "billing.plan",
        "version": plan.version,
        "name": plan.name,
        "summary": plan.summary,
        "sold_online": plan.sold_online,
        "prices": [
            {"interval": interval, "currency": code, "amount": amount}
            for (interval, code), amount in plan.prices.items()
            if code == currency()
        ],
        "included_usd": number(plan.allowance_nano),
        "x_included_nano": plan.allowance_nano,
        "trial_days": plan.trial.days if plan.trial is not None else None,
        "limits": {
            "requests_per_minute": limits.requests_per_minute,
            "tokens_per_minute": limits.tokens_per_minute,
            "concurrency": limits.concurrency,
            "monthly_spend_usd": number(limits.monthly_spend_nano),
            "x_monthly_spend_nano": limits.monthly_spend_nano,
            "storage_bytes": limits.storage_bytes,
            "file_bytes": limits.file_bytes,
            "train_rows": limits.train_rows,
            "parallel_jobs": limits.parallel_jobs,
            "queued_jobs": limits.queued_jobs,
            "projects": limits.projects,
            "members": limits.members,
            "deployments": limits.deployments,
        },
        "features": sorted(plan.features),
    }


def subscription_object() -> dict[str, Any]:
    """What the scope's organisation has: the plan that applies, and what is paid for it."""
    entitlement, held = subscriptions.entitlement_now(), subscriptions.subscription_held()
    late = dunning.overdue()
    return {
        "object": "billing.subscription",
        "currency": currency(),
        "plan": entitlement.plan,
        "plan_version": entitlement.plan_version,
        "standing": entitlement.standing,
        "included_usd": number(entitlement.allowance_nano),
        "x_included_nano": entitlement.allowance_nano,
        "subscription": held
        and {
            "id": held.public_id,
            "status": held.status,
            "plan": held.plan,
            "plan_version": held.plan_version,
            "interval": subscriptions.interval_of(held),
            "extra_seats": seats_bought(held),
            "current_period_start": unix(held.period_start),
            "current_period_end": unix(held.period_end),
            "trial_end": unix(held.trial_end),
            "cancel_at_period_end": held.cancel_at_period_end,
        },
        "overdue": late and {"step": late.step, "since": unix(late.since), "next_step_at": unix(late.next_step_at)},
        "change_pending": bool(commands_pending()),
    }


class SubscriptionChangeView(OutsideView):
    """What the routes share that ask the payment provider for something."""

    def asked(self, request: Request, write: Callable[[], StripeCommand]) -> Response:
        """Write the command once however often it is sent, and answer what became of it."""

        def create() -> dict[str, Any]:
            return {"id": write().public_id}

        noted, tenant_id = self.create_once(request, create), self.caller.tenant_id
        command_id = parse_id(StripeCommand.prefix, noted.data["id"])

        def outcome() -> dict[str, Any]:
            with tenant_scope(tenant_id):
                command = StripeCommand.objects.get(pk=command_id)
            done = command_finish(command)
            with tenant_scope(tenant_id):
                return _change(done)

        self.outside = outcome
        return noted


def _change(command: StripeCommand) -> dict[str, Any]:
    """What became of it. Conflict where nothing more will: staff gave it up, or have to look at it."""
    if command.state == StripeCommand.State.DROPPED:
        raise Conflict(f"This was not done: {command.error or 'it was given up.'}")
    if command.state == StripeCommand.State.DOUBT:
        raise Conflict(f"Whether this was done is not known, and we look at it: {command.error}")
    confirm = (command.answer or {}).get("confirm_url") or None
    waiting = command.state != StripeCommand.State.DONE
    return {
        "id": command.public_id,
        "object": "billing.subscription.change",
        "status": "pending" if waiting else "requires_action" if confirm else "done",
        "confirm_url": confirm,
        "subscription": subscription_object(),
    }


class SubscriptionView(SubscriptionChangeView):
    """The organisation's plan."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": "billing.read", "POST": "billing.write"}

    @describe(name="billing_subscription_retrieve", answers=schema.SUBSCRIPTION)
    def get(self, request: Request) -> Response:
        """Retrieve the subscription

        The plan that applies now, the subscription that pays for it, and whether an invoice is overdue. A first
        subscription is bought in the console, where the payment page takes the card.
        """
        return Response(subscription_object())

    @describe(
        name="billing_subscription_change",
        takes=PlanChange,
        answers=schema.CHANGE,
        refuses={**REFUSES, 409: f"{REFUSES[409]} Or the pin is older than 15 minutes, or of another change."},
        once=True,
        example={"plan": "team", "interval": "month", "pin": "WyI0…:1vQ…"},
    )
    def post(self, request: Request) -> Response:
        """Change the plan

        Moves the running subscription to another plan or interval at once, and charges what its preview showed. Where
        the card's owner has to confirm the payment, the plan changes once that is done at `confirm_url`.
        """
        body = self.read(PlanChange)
        interval = body.get("interval", "month")

        def write() -> StripeCommand:
            plan = subscriptions.plan_named(body["plan"])
            at = pin_read(body["pin"], plan=plan.code, interval=interval)
            return services.plan_change(plan=plan.code, interval=interval, at=at)

        return self.asked(request, write)


class SubscriptionPreviewView(OutsideView):
    """What a change would charge."""

    required_scopes: ClassVar[dict[str, str]] = {"POST": "billing.read"}

    @describe(
        name="billing_subscription_preview",
        takes=PlanPreview,
        answers=schema.PREVIEW,
        refuses={name: words for name, words in REFUSES.items() if name != 402},
        example={"plan": "team", "interval": "month"},
    )
    def post(self, request: Request) -> Response:
        """Preview a change

        What moving to another plan or interval would charge now, as the payment provider reckons it; nothing is
        changed. The `pin` makes the change charge just that, for 15 minutes.
        """
        body, tenant_id = self.read(PlanPreview), self.caller.tenant_id
        interval = body.get("interval", "month")
        plan = subscriptions.plan_named(body["plan"])
        ask = services.plan_preview(plan=plan.code, interval=interval)

        def preview() -> dict[str, Any]:
            charge = ask()
            with tenant_scope(tenant_id):
                pin = pin_make(plan=plan.code, interval=interval, at=charge["at"])
            return {
                "object": "billing.subscription.preview",
                "plan": plan.code,
                "plan_version": plan.version,
                "interval": interval,
                "currency": charge["currency"],
                "amount_due": charge["total"],
                "credit": charge["credit"],
                "lines": charge["lines"],
                "pin": pin,
                "expires_at": pin_end(),
            }

        self.outside = preview
        return Response({})


class _Act(SubscriptionChangeView):
    """An act on the subscription, which takes no fields."""

    required_scopes: ClassVar[dict[str, str]] = {"POST": "billing.write"}

    def act(self, request: Request, write: Callable[[], StripeCommand]) -> Response:
        """Do it, and answer what became of it."""
        self.read(Nothing)
        return self.asked(request, write)


class SubscriptionCancelView(_Act):
    """End the plan with the period that is paid."""

    @describe(name="billing_subscription_cancel", answers=schema.CHANGE, refuses=REFUSES, once=True)
    def post(self, request: Request) -> Response:
        """Cancel the subscription

        The plan ends with the period that is paid, and the free plan applies from then on. Until then it can be kept.
        """
        return self.act(request, services.subscription_cancel)


class SubscriptionKeepView(_Act):
    """Take a cancellation back."""

    @describe(name="billing_subscription_keep", answers=schema.CHANGE, refuses=REFUSES, once=True)
    def post(self, request: Request) -> Response:
        """Keep the subscription

        Takes a cancellation back while the period still runs.
        """
        return self.act(request, services.subscription_keep)


class SubscriptionPauseView(_Act):
    """Let the plan rest."""

    @describe(name="billing_subscription_pause", answers=schema.CHANGE, refuses=REFUSES, once=True)
    def post(self, request: Request) -> Response:
        """Pause the subscription

        The free plan applies at once and nothing is charged until it is resumed. What is left of the period is credited
        to the invoice on which it is resumed.
        """
        return self.act(request, services.plan_pause)


class SubscriptionResumeView(_Act):
    """Let it run again."""

    @describe(name="billing_subscription_resume", answers=schema.CHANGE, refuses=REFUSES, once=True)
    def post(self, request: Request) -> Response:
        """Resume the subscription

        A paused plan runs again, with a new period from now on, once that is paid.
        """
        return self.act(request, services.plan_resume)
