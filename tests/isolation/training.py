"""Fine-tuning jobs."""

from billing.services.entitlements import override_set
from tenants.scope import tenant_scope
from tests.conftest import Person
from tests.isolation.routes import Ids, Policy
from tests.training import searching
from tests.training.making import BASE, checked_file, create, intents, queued


def _job(person: Person) -> Ids:
    with tenant_scope(person.tenant.id):
        override_set(reason="many tries", created_by="test", limits={"queued_jobs": 1000})
    return {"job": create(person).public_id}


def _queued_job(person: Person) -> Ids:
    _job(person)
    return {"job": queued(person).public_id}


def _cancelled_job(person: Person) -> Ids:
    ids = _job(person)
    person.api.post(f"/{JOBS}/{ids['job']}/cancel")
    return ids


def _file(person: Person) -> Ids:
    return {"file": checked_file(person, intents()).public_id}


def _body(ids: Ids) -> Ids:
    return {"model": BASE, "training_file": ids["file"]}


def _sweep(person: Person) -> Ids:
    return {"sweep": searching.create(person).public_id}


def _ended_sweep(person: Person) -> Ids:
    """Cancelled, and so over."""
    sweep = searching.create(person)
    person.api.post(f"/{SWEEPS}/{sweep.public_id}/cancel")
    searching.step(sweep)
    return {"sweep": sweep.public_id}


def _sweep_body(ids: Ids) -> Ids:
    space = {"x_method": ["head"], "n_epochs": [1, 2]}
    return _body(ids) | {"strategy": "grid", "space": space}


JOBS = "v1/fine_tuning/jobs"
SWEEPS = "v1/fine_tuning/sweeps"
POLICIES: dict[str, Policy] = {
    JOBS: Policy("api", make=_file, success={"GET": 200, "POST": 200}, bodies={"POST": _body}, hidden={"GET": 200}),
    f"{JOBS}/estimate": Policy("api", make=_file, success={"POST": 200}, bodies={"POST": _body}),
    f"{JOBS}/<str:job>": Policy("api", make=_job, success={"GET": 200}),
    f"{JOBS}/<str:job>/cancel": Policy("api", make=_job, success={"POST": 200}),
    f"{JOBS}/<str:job>/pause": Policy("api", make=_queued_job, success={"POST": 200}),
    f"{JOBS}/<str:job>/resume": Policy("api", make=_queued_job, success={"POST": 200}),
    f"{JOBS}/<str:job>/retry": Policy("api", make=_cancelled_job, success={"POST": 200}),
    f"{JOBS}/<str:job>/clone": Policy("api", make=_job, success={"POST": 200}),
    f"{JOBS}/<str:job>/stream": Policy("api", make=_job, success={"GET": 200}),
    f"{JOBS}/<str:job>/events": Policy("api", make=_job, success={"GET": 200}),
    f"{JOBS}/<str:job>/checkpoints": Policy("api", make=_job, success={"GET": 200}),
    f"{JOBS}/<str:job>/report": Policy("api", make=_job, success={"GET": 409}),
    f"{JOBS}/<str:job>/metrics": Policy("api", make=_job, success={"GET": 200}),
    SWEEPS: Policy(
        "api", make=_file, success={"GET": 200, "POST": 200}, bodies={"POST": _sweep_body}, hidden={"GET": 200}
    ),
    f"{SWEEPS}/estimate": Policy("api", make=_file, success={"POST": 200}, bodies={"POST": _sweep_body}),
    f"{SWEEPS}/<str:sweep>": Policy("api", make=_sweep, success={"GET": 200}),
    f"{SWEEPS}/<str:sweep>/cancel": Policy("api", make=_sweep, success={"POST": 200}),
    f"{SWEEPS}/<str:sweep>/losers": Policy("api", make=_ended_sweep, success={"GET": 200, "DELETE": 200}),
    f"{SWEEPS}/<str:sweep>/losers/restore": Policy("api", make=_ended_sweep, success={"POST": 200}),
    f"{SWEEPS}/<str:sweep>/trials": Policy("api", make=_sweep, success={"GET": 200}),
}
