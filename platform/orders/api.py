"""`/v1/orders`: custom models made to order."""

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from kit.ids import parse_id
from kit.pages import cursor_page
from kit.schema import describe, paging
from orders import schema, selectors, services, states, wire
from orders.models import Order, OrderEvent
from orders.serializers import MessageCreate, OrderCancel, OrderCreate
from tenants.api import TenantAPIView
from tenants.selectors import project_by_id


class OrdersView(TenantAPIView):
    """The project's orders."""

    required_scopes = {"GET": "jobs.read", "POST": "jobs.write"}

    @describe(name="orders_list", answers=schema.ORDERS, fields=paging(default=20, maximum=100))
    def get(self, request: Request) -> Response:
        """List orders

        The project's orders of custom models, newest first.
        """
        return Response(
            cursor_page(
                selectors.orders(self.caller.project_id),
                request.query_params,
                parse=lambda text: parse_id(Order.prefix, text),
                render=wire.order_object,
            )
        )

    @describe(
        name="orders_create",
        takes=OrderCreate,
        answers=schema.ORDER,
        refuses={
            403: "The plan has no custom models.",
            404: "No such file in the key's project.",
            409: "20 orders of the organisation are open.",
        },
        once=True,
        example={
            "title": "Ticket triage",
            "task": "classification",
            "brief": "Sort support tickets in four languages.",
            "contact": "ada@example.com",
        },
    )
    def post(self, request: Request) -> Response:
        """Place an order

        A brief for a model that we make for you. It costs nothing until you accept a quote.
        """
        body = self.read(OrderCreate)

        def create() -> dict[str, Any]:
            made = services.order_create(
                project=project_by_id(self.caller.project_id), by=self.caller.actor_label, **body
            )
            return wire.order_object(made)

        return self.create_once(request, create)


class OrderView(TenantAPIView):
    """One order."""

    required_scopes = {"GET": "jobs.read"}

    @describe(name="orders_retrieve", answers=schema.ORDER)
    def get(self, request: Request, order: str) -> Response:
        """Retrieve an order

        As it stands: state, quote, contract, milestones, invoices.
        """
        return Response(wire.order_object(selectors.order_get(self.caller.project_id, order)))


class OrderCancelView(TenantAPIView):
    """End an order before a quote was accepted."""

    required_scopes = {"POST": "jobs.write"}

    @describe(
        name="orders_cancel",
        takes=OrderCancel,
        answers=schema.ORDER,
        refuses={409: "A quote was accepted, or the order is over."},
    )
    def post(self, request: Request, order: str) -> Response:
        """Cancel an order

        Before a quote is accepted, and at no cost. A quote that was sent can no longer be accepted.
        """
        body = self.read(OrderCancel)
        found = selectors.order_get(self.caller.project_id, order)
        done = services.order_cancel(order=found, reason=body.get("reason", ""), by=self.caller.actor_label)
        return Response(wire.order_object(done))


class OrderEventsView(TenantAPIView):
    """Its timeline."""

    required_scopes = {"GET": "jobs.read", "POST": "jobs.write"}

    @describe(name="orders_list_events", answers=schema.EVENTS, fields=paging(default=20, maximum=100))
    def get(self, request: Request, order: str) -> Response:
        """List an order's events

        What happened and what was said, newest first: the same timeline that we see.
        """
        found = selectors.order_get(self.caller.project_id, order)
        return Response(
            cursor_page(
                OrderEvent.objects.filter(order=found),
                request.query_params,
                parse=lambda text: parse_id(OrderEvent.prefix, text),
                render=wire.event_object,
            )
        )

    @describe(name="orders_create_event", takes=MessageCreate, answers=schema.EVENT, once=True)
    def post(self, request: Request, order: str) -> Response:
        """Send a message

        It stands in the timeline, and we are told by e-mail.
        """
        body = self.read(MessageCreate)
        found = selectors.order_get(self.caller.project_id, order)

        def create() -> dict[str, Any]:
            made = services.message_send(
                order=found, text=body["text"], side=states.CUSTOMER, by=self.caller.actor_label
            )
            return wire.event_object(made)

        return self.create_once(request, create)
