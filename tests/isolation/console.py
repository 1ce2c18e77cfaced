"""Pages of the console, landing and docs."""

from data.services import dataset_delete, file_delete
from registry.services import model_delete
from tenants.scope import tenant_scope
from tests.conftest import Person
from tests.isolation.routes import Ids, Policy
from tests.isolation.serving import logged

PUBLIC = Policy("public", success={"GET": 200})
TOLD_APART = Policy("public", success={})
"""Public pages with a parameter of ours (a chapter's name); they hold no tenant's data and have tests of their own."""


def _things() -> object:
    """Builders, imported late: this module is read while tests are collected."""
    from tests.console import things

    return things


def _file(person: Person) -> Ids:
    return {"file": _things().made_file(person).public_id}  # type: ignore[attr-defined]


def _dataset(person: Person) -> Ids:
    return {"dataset": _things().made_version(person).dataset.public_id}  # type: ignore[attr-defined]


def _deleted_file(person: Person) -> Ids:
    file = _things().made_file(person)  # type: ignore[attr-defined]
    with tenant_scope(person.tenant.id):
        file_delete(file=file)
    return {"file": file.public_id}


def _deleted_dataset(person: Person) -> Ids:
    dataset = _things().made_version(person).dataset  # type: ignore[attr-defined]
    with tenant_scope(person.tenant.id):
        dataset_delete(dataset=dataset)
    return {"dataset": dataset.public_id}


def _job(person: Person) -> Ids:
    return {"job": _things().made_job(person).public_id}  # type: ignore[attr-defined]


def _waiting_job(person: Person) -> Ids:
    return {"job": _things().made_job(person, state="queued").public_id}  # type: ignore[attr-defined]


def _sweep(person: Person) -> Ids:
    from tests.training import searching

    return {"sweep": searching.create(person).public_id}


def _ended_sweep(person: Person) -> Ids:
    from tests.training import searching

    sweep = searching.create(person)
    person.api.post(f"{searching.SWEEPS}/{sweep.public_id}/cancel")
    searching.step(sweep)
    return {"sweep": sweep.public_id}


def _model(person: Person) -> Ids:
    return {"model": _things().made_model(person).model.public_id}  # type: ignore[attr-defined]


def _deleted_model(person: Person) -> Ids:
    model = _things().made_model(person).model  # type: ignore[attr-defined]
    with tenant_scope(person.tenant.id):
        model_delete(model=model)
    return {"model": model.public_id}


def _deployment(person: Person) -> Ids:
    return {"deployment": _things().made_deployment(person).public_id}  # type: ignore[attr-defined]


def _stopped_deployment(person: Person) -> Ids:
    return {"deployment": _things().made_deployment(person, state="stopped").public_id}  # type: ignore[attr-defined]


def _rollout(person: Person) -> Ids:
    from tests.console.rolling import made_rollout

    return {"rollout": made_rollout(person).public_id}


def _event(person: Person) -> Ids:
    from tests.console import billed

    return {"event": billed.made_usage(person).public_id}


def _invoice(person: Person) -> Ids:
    from tests.console import billed

    return {"invoice": billed.made_invoice(person).public_id}


def _month(person: Person) -> Ids:
    from tests.console import billed

    billed.made_bill(person)
    return {"period": "2026-10"}


HOME = "o/<slug:org>/"
WORK = "o/<slug:org>/p/<slug:project>/"
SHOWN = Policy("page", success={"GET": 200})
COLUMNS = {"text": "text", "label": "label"}

POLICIES: dict[str, Policy] = {
    "": PUBLIC,
    "pricing": PUBLIC,
    "docs/": PUBLIC,
    "docs/api/": PUBLIC,
    "docs/api/<slug:group>": TOLD_APART,
    "docs/support_intents.csv": PUBLIC,
    "docs/<slug:slug>": TOLD_APART,
    "styleguide": TOLD_APART,  # development only
    "theme": Policy("public", success={"GET": 405}),
    "keys": Policy("public", success={"GET": 405}),
    "search": PUBLIC,
    "visit/leave": Policy("public", success={"GET": 405, "POST": 302}),
    "o/": Policy("page", success={"GET": 302}),
    HOME: Policy("page", success={"GET": 302}),
    f"{HOME}billing/": SHOWN,
    f"{HOME}billing/checkout": Policy("page", success={"GET": 405}),  # POST leads to Stripe; tested there
    f"{HOME}billing/portal": Policy("page", success={"GET": 405}),
    f"{HOME}billing/plan": Policy("page", success={"GET": 400, "POST": 422}),  # with a plan it asks Stripe
    f"{HOME}billing/seats": SHOWN,
    f"{HOME}billing/seats/change": Policy("page", success={"GET": 422, "POST": 409}),  # a number, and a price shown
    f"{HOME}billing/limit": Policy(
        "page", success={"GET": 405, "POST": 302}, bodies={"POST": lambda ids: {"monthly_spend": "1"}}
    ),
    f"{HOME}billing/details": Policy("page", success={"GET": 200, "POST": 422}),  # what is right asks Stripe
    f"{HOME}billing/wallet": SHOWN,
    f"{HOME}billing/wallet/statement.csv": SHOWN,
    f"{HOME}billing/wallet/account": Policy(
        "page", success={"GET": 405, "POST": 302}, bodies={"POST": lambda ids: {"postpaid": "1"}}
    ),
    f"{HOME}billing/wallet/buy": Policy("page", success={"GET": 405, "POST": 422}),  # with an amount it asks Stripe
    f"{HOME}billing/wallet/slow": Policy("page", success={"GET": 405, "POST": 302}),
    f"{HOME}billing/wallet/top-up": Policy("page", success={"GET": 405, "POST": 422}),  # with amounts it asks Stripe
    f"{HOME}usage/": SHOWN,
    f"{HOME}usage/csv": SHOWN,
    f"{HOME}usage/refused": SHOWN,
    f"{HOME}usage/budgets/": SHOWN,
    f"{HOME}usage/events/": SHOWN,
    f"{HOME}usage/events/csv": SHOWN,
    f"{HOME}usage/events/<str:event>/": Policy("page", make=_event, success={"GET": 200}),
    f"{HOME}billing/calculator": SHOWN,
    f"{HOME}billing/invoices/": SHOWN,
    f"{HOME}billing/invoices/<str:invoice>/": Policy("page", make=_invoice, success={"GET": 200}),
    f"{HOME}billing/invoices/<str:invoice>/csv": Policy("page", make=_invoice, success={"GET": 200}),
    f"{HOME}billing/invoices/<str:invoice>/receipt": Policy("page", make=_invoice, success={"GET": 409}),  # not paid
    f"{HOME}billing/months/<str:period>/": Policy("page", make=_month, success={"GET": 200}),
    f"{HOME}billing/months/<str:period>/line": Policy("page", make=_month, success={"GET": 404}),  # wants ?key=
    f"{HOME}billing/months/<str:period>/line/csv": Policy("page", make=_month, success={"GET": 404}),
    WORK: SHOWN,
    f"{WORK}datasets/": SHOWN,
    f"{WORK}datasets/new": Policy("page", success={"GET": 200, "POST": 422}),
    f"{WORK}datasets/sample": Policy("page", success={"POST": 302}),
    f"{WORK}datasets/<str:dataset>/": Policy("page", make=_dataset, success={"GET": 200}),
    f"{WORK}datasets/<str:dataset>/fix": Policy(
        "page", make=_dataset, success={"POST": 302}, bodies={"POST": lambda ids: {"fix": "trim"}}
    ),
    f"{WORK}datasets/deleted": SHOWN,
    f"{WORK}datasets/<str:dataset>/delete": Policy("page", make=_dataset, success={"POST": 302}),
    f"{WORK}datasets/<str:dataset>/restore": Policy("page", make=_deleted_dataset, success={"POST": 302}),
    f"{WORK}datasets/<str:dataset>/erase": Policy("page", make=_deleted_dataset, success={"POST": 302}),
    f"{WORK}files/<str:file>/": Policy("page", make=_file, success={"GET": 200}),
    f"{WORK}files/<str:file>/rows": Policy("page", make=_file, success={"GET": 200}),
    f"{WORK}files/<str:file>/columns": Policy(
        "page", make=_file, success={"POST": 302}, bodies={"POST": lambda ids: COLUMNS}
    ),
    f"{WORK}files/<str:file>/dataset": Policy("page", make=_file, success={"POST": 302}),
    f"{WORK}files/<str:file>/delete": Policy("page", make=_file, success={"POST": 302}),
    f"{WORK}files/<str:file>/restore": Policy("page", make=_deleted_file, success={"POST": 302}),
    f"{WORK}files/<str:file>/erase": Policy("page", make=_deleted_file, success={"POST": 302}),
    f"{WORK}jobs/": SHOWN,
    f"{WORK}jobs/new": Policy("page", success={"GET": 200, "POST": 422}),
    f"{WORK}jobs/columns": SHOWN,
    f"{WORK}jobs/estimate": Policy("page", success={"POST": 200}),
    f"{WORK}jobs/<str:job>/": Policy("page", make=_job, success={"GET": 200}),
    f"{WORK}jobs/<str:job>/stream": Policy("page", make=_job, success={"GET": 200}),
    f"{WORK}jobs/<str:job>/csv": Policy("page", make=_job, success={"GET": 200}),
    f"{WORK}jobs/<str:job>/cancel": Policy("page", make=_waiting_job, success={"POST": 302}),
    f"{WORK}jobs/<str:job>/pause": Policy("page", make=_waiting_job, success={"POST": 302}),
    f"{WORK}jobs/<str:job>/resume": Policy("page", make=_waiting_job, success={"POST": 302}),
    f"{WORK}sweeps/": SHOWN,
    f"{WORK}sweeps/new": Policy("page", success={"GET": 200, "POST": 422}),
    f"{WORK}sweeps/estimate": Policy("page", success={"POST": 200}),
    f"{WORK}sweeps/<str:sweep>/": Policy("page", make=_sweep, success={"GET": 200}),
    f"{WORK}sweeps/<str:sweep>/cancel": Policy("page", make=_sweep, success={"POST": 302}),
    f"{WORK}sweeps/<str:sweep>/losers": Policy("page", make=_ended_sweep, success={"POST": 302}),
    f"{WORK}sweeps/<str:sweep>/losers/restore": Policy("page", make=_ended_sweep, success={"POST": 302}),
    f"{WORK}models/": SHOWN,
    f"{WORK}models/compare": SHOWN,
    f"{WORK}models/<str:model>/": Policy(
        "page", make=_model, success={"GET": 200, "POST": 302}, bodies={"POST": lambda ids: {"alias": "triage@prod"}}
    ),
    f"{WORK}models/<str:model>/csv": Policy("page", make=_model, success={"GET": 200}),
    f"{WORK}models/<str:model>/weights": Policy("page", make=_model, success={"GET": 403}),  # not on the free plan
    f"{WORK}models/deleted": SHOWN,
    f"{WORK}models/<str:model>/delete": Policy("page", make=_model, success={"POST": 302}),
    f"{WORK}models/<str:model>/restore": Policy("page", make=_deleted_model, success={"POST": 302}),
    f"{WORK}models/<str:model>/erase": Policy("page", make=_deleted_model, success={"POST": 302}),
    f"{WORK}deployments/": Policy("page", success={"GET": 200, "POST": 422}),
    f"{WORK}deployments/<str:deployment>/": Policy("page", make=_deployment, success={"GET": 200}),
    f"{WORK}deployments/idle": Policy(
        "page", success={"POST": 302}, bodies={"POST": lambda ids: {"action": "warn", "days": 30}}
    ),
    f"{WORK}deployments/engines-price": SHOWN,
    f"{WORK}deployments/<str:deployment>/engines": Policy("page", make=_deployment, success={"POST": 302}),
    f"{WORK}deployments/<str:deployment>/again": Policy("page", make=_stopped_deployment, success={"POST": 302}),
    f"{WORK}rollouts/": SHOWN,
    f"{WORK}rollouts/new": Policy("page", success={"GET": 200, "POST": 422}),
    f"{WORK}rollouts/<str:rollout>/": Policy(
        "page", make=_rollout, success={"GET": 200, "POST": 302}, bodies={"POST": lambda ids: {"share": 50}}
    ),
    f"{WORK}rollouts/<str:rollout>/promote": Policy("page", make=_rollout, success={"POST": 302}),
    f"{WORK}rollouts/<str:rollout>/rollback": Policy("page", make=_rollout, success={"POST": 302}),
    f"{WORK}deployments/<str:deployment>/stop": Policy("page", make=_deployment, success={"POST": 302}),
    f"{WORK}deployments/<str:deployment>/answering": Policy(
        "page", make=_deployment, success={"POST": 302}, bodies={"POST": lambda ids: {"percent": ""}}
    ),
    f"{WORK}playground/": Policy("page", success={"GET": 200, "POST": 422}),
    f"{WORK}requests/": SHOWN,
    f"{WORK}requests/csv": SHOWN,
    f"{WORK}requests/figures": SHOWN,
    f"{WORK}requests/texts": Policy("page", success={"GET": 200, "POST": 422}),
    f"{WORK}requests/<str:request_id>/": Policy("page", make=logged, success={"GET": 200}),
    f"{WORK}playground/why": Policy("page", success={"POST": 422}),
}
