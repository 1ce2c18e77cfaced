"""The console's pages as the browser tests open them: a path, and what must exist first."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from billing.services.entitlements import override_set
from customers.services.threads import thread_answer
from data.services import file_delete
from inference.catalogue import DEFAULT_BASE
from inference.tasks import ANSWERS, CLASSIFICATION, MULTI_LABEL, REGRESSION, RERANK, TEXT_GENERATION, TOKENS
from registry.models import Model
from registry.services import model_delete
from tenants.scope import tenant_scope
from tests.conftest import Person
from tests.console import billed, rolling, things
from tests.customers.asking import asked_with_file
from tests.isolation.batches import a_batch
from tests.isolation.orders import a_quote, accepted, an_order, granted
from tests.serving.logged import log_request
from tests.training import searching


def _nothing(person: Person) -> None:
    """A page that needs no object."""


@dataclass(frozen=True)
class Place:
    """One page."""

    path: Callable[[Person], str]
    prepare: Callable[[Person], None] = _nothing


def project(tail: str) -> Place:
    """A page of the project."""
    return Place(lambda person: f"{person.workspace}/{tail}")


def organisation(tail: str) -> Place:
    """A page of the organisation."""
    return Place(lambda person: f"{person.home}/{tail}")


MADE: dict[tuple[str, str], str] = {}
"""Public ids of what `prepare` made, by person and kind."""


def _made(kind: str, maker: Callable[[Person], str], path: str) -> Place:
    """A page of one object, made first."""

    def prepare(person: Person) -> None:
        MADE[person.tenant.slug, kind] = maker(person)

    return Place(lambda person: f"{person.workspace}/" + path.format(MADE[person.tenant.slug, kind]), prepare)


def _again(kind: str, path: str) -> Place:
    """Another page of an object that an earlier place made."""
    return Place(lambda person: f"{person.workspace}/" + path.format(MADE[person.tenant.slug, kind]))


def _failed(person: Person) -> str:
    words = {"error_code": "out_of_memory", "error_message": "The trainer ran out of memory at step 88."}
    return things.made_job(person, state="failed", events=9, **words).public_id


def _ragged(person: Person) -> str:
    return things.made_file(person, content=things.csv_bytes() + b"one,two,three\n,\n").public_id


def _deleted(person: Person) -> str:
    file = things.made_file(person, name=LONG_NAME)
    with tenant_scope(person.tenant.id):
        file_delete(file=file)
    return file.public_id


def _deleted_model(person: Person) -> str:
    model = things.made_model(person, suffix="a-model-that-somebody-has-deleted").model
    with tenant_scope(person.tenant.id):
        model_delete(model=model)
    return model.public_id


def _unanswered(person: Person) -> str:
    fault = {"status": 503, "code": "slow_down", "duration_ms": 25_011, "cost_nano": 0, "queue_ms": 0, "engine_ms": 0}
    return str(
        log_request(person, model=f"ft:all-MiniLM-L6-v2:ada-works:{LONG_SWEEP}:0190aa11bb22cc33", **fault).public_id
    )


def _event(person: Person) -> None:
    MADE[person.tenant.slug, "event"] = billed.made_usage(person).public_id


def _invoice(person: Person) -> None:
    MADE[person.tenant.slug, "invoice"] = billed.made_invoice(person).public_id


def _granted(person: Person) -> None:
    granted(person)


def _batch(person: Person) -> str:
    codes = {"context_length_exceeded": 31, "model_not_found": 2}
    state = {"state": "in_progress", "total": 50_000, "completed": 21_440, "failed": 33, "codes": codes}
    sums = {"input_tokens": 8_112_000, "output_tokens": 1_240_900, "cost_nano": 653_800_000, "model": "x" * 120}
    return str(a_batch(person, waits_for="spend_limit", **state, **sums).public_id)


def _refused_batch(person: Person) -> str:
    problems = [
        {"code": "mismatched_model", "line": n, "param": "body.model", "message": "One batch calls one model. " * 4}
        for n in range(1, 30)
    ]
    return str(a_batch(person, state="failed", errors=problems).public_id)


def _answered(person: Person) -> str:
    """A thread with a file, and with an answer of a member of staff."""
    thread, _file = asked_with_file(person, name=LONG_NAME)
    with tenant_scope(person.tenant.pk):
        thread_answer(thread_id=thread.pk, text="It answers again.\n\n" + "a-long-word" * 40, by=person.user)
    return thread.public_id


PLAYED = (CLASSIFICATION, TEXT_GENERATION, MULTI_LABEL, REGRESSION, TOKENS, ANSWERS, RERANK)
"""Tasks with a face of their own in the playground."""


def _playable(task: str, person: Person) -> str:
    """A live deployment of a task, without an engine behind it."""
    with tenant_scope(person.tenant.id):
        override_set(limits={"deployments": 100}, reason="a face of every task", created_by="tests")
    made = things.made_deployment(person)
    with tenant_scope(person.tenant.id):
        Model.objects.filter(pk=made.model_id).update(task=task)
    return made.public_id


LONG_NAME = "customer-support-escalations-with-a-sixty-character-long-name.csv"

LONG_SWEEP = "customer-support-escalations-a-48-letter-name-xx"

PLACES: list[Place] = [
    project(""),
    project("datasets/"),
    project("datasets/new"),
    _made("file", lambda p: things.made_file(p, name=LONG_NAME).public_id, "files/{}/"),
    _again("file", "files/{}/?finding=exact_duplicates"),
    _again("file", "files/{}/?as=chat"),
    _again("file", "jobs/new?data={}"),
    _made("ragged", _ragged, "files/{}/"),
    _made("bad", lambda p: things.made_file(p, content=b"a,b\n1,2\n").public_id, "files/{}/"),
    _made("waiting", lambda p: things.made_file(p, checked=False).public_id, "files/{}/"),
    _made("dataset", lambda p: things.made_version(p).dataset.public_id, "datasets/{}/"),
    _again("dataset", "datasets/{}/?tab=rows&q=refund"),
    _again("dataset", "datasets/{}/?tab=rows&label=human_agent&q=person&min=10&max=60"),
    _again("dataset", "datasets/{}/?tab=rows&row=60&page=2"),
    _again("dataset", "datasets/{}/?tab=columns"),
    _made("talk", lambda p: things.made_talk(p).dataset.public_id, "datasets/{}/?tab=rows"),
    _again("talk", "datasets/{}/?tab=columns"),
    _again("dataset", "datasets/{}/?tab=versions"),
    _made("gone", _deleted, "datasets/deleted"),
    project("jobs/"),
    project("jobs/?state=succeeded"),
    project("jobs/new"),
    _made("done", lambda p: things.made_job(p, state="succeeded", events=40).public_id, "jobs/{}/"),
    _made("failed", _failed, "jobs/{}/"),
    _made("queued", lambda p: things.made_job(p, state="queued").public_id, "jobs/{}/"),
    project("sweeps/"),
    project("sweeps/new"),
    project("sweeps/new?preset=careful"),
    project("sweeps/new?preset=grid"),
    _made("sweep", lambda p: things.made_sweep(p, name=LONG_SWEEP).public_id, "sweeps/{}/"),
    _made("searching", lambda p: things.made_sweep(p, over=False).public_id, "sweeps/{}/"),
    _made("fresh", lambda p: searching.create(p).public_id, "sweeps/{}/"),
    project("models/"),
    _made("model", lambda p: things.made_model(p).model.public_id, "models/{}/"),
    _again("model", "models/{}/?class=human_agent"),
    _made("second", lambda p: things.made_model(p, suffix="a-second-one").model.public_id, "models/{}/"),
    project("models/compare"),
    _made("erasable", _deleted_model, "models/deleted"),
    project("deployments/"),
    project("rollouts/"),
    project("rollouts/new"),
    _made("rollout", lambda p: rolling.made_rollout(p, calls=200).public_id, "rollouts/{}/"),
    _made("shadow", lambda p: rolling.made_shadow(p).public_id, "rollouts/{}/"),
    _made("shadow-writing", lambda p: rolling.made_writing_shadow(p).public_id, "rollouts/{}/"),
    _made("ended", lambda p: rolling.made_rolled_back(p).public_id, "rollouts/{}/"),
    _made("deployment", lambda p: things.made_deployment(p).public_id, "deployments/{}/"),
    project("batches/"),
    project("batches/new"),
    project("batches/upload"),
    _made("asked", _batch, "batches/{}/"),
    _made("refused", _refused_batch, "batches/{}/"),
    project("batches/?page=1"),
    project("orders/"),
    Place(lambda person: f"{person.workspace}/orders/new", _granted),
    _made("order", lambda p: an_order(p, title="x" * 120).public_id, "orders/{}/"),
    _made("quoted", lambda p: a_quote(p)[0].public_id, "orders/{}/"),
    _made("agreed", lambda p: accepted(p).public_id, "orders/{}/"),
    project("playground/"),
    project(f"playground/?model={DEFAULT_BASE}"),
    *(_made(f"play-{task}", partial(_playable, task), "playground/?model={}") for task in PLAYED),
    _again("play-text-classification", "playground/?model={}&text=where+is+my+refund"),
    project("requests/"),
    project("requests/figures?span=7d"),
    project("requests/texts"),
    project("requests/?model=nobody"),
    project("requests/figures?span=1h&by=arm&model=nobody"),
    _made("request", lambda person: log_request(person).public_id, "requests/{}/"),
    _made("unanswered", _unanswered, "requests/{}/"),
    organisation("usage/events/"),
    organisation("billing/invoices/"),
    organisation("billing/details"),
    organisation("billing/calculator"),
    Place(lambda person: f"{person.home}/usage/events/{MADE[person.tenant.slug, 'event']}/", _event),
    organisation("usage/events/?key=none&kind=jobs&model=nobody"),
    organisation("usage/"),
    Place(lambda person: f"{person.home}/billing/invoices/{MADE[person.tenant.slug, 'invoice']}/", _invoice),
    organisation("billing/months/2026-10/"),
    organisation("billing/months/2026-10/line?key=classify:all-MiniLM-L6-v2:2026-11-01"),
    organisation("billing/calculator?traffic=typed"),
    organisation("usage/budgets/"),
    Place(lambda person: f"{person.home}/usage/refused", lambda person: things.refused_calls(person)),
    organisation("usage/refused?layer=model"),
    Place(lambda person: f"{person.workspace}/limits", lambda person: things.limits_set(person)),
    Place(lambda person: f"{person.workspace}/limits/{things.LIMITED}"),
    Place(lambda person: f"{person.home}/members/{things.seat_of(person).public_id}/limits"),
    organisation("billing/"),
    organisation("support/"),
    organisation("support/new"),
    Place(
        lambda person: f"{person.home}/support/{MADE[person.tenant.slug, 'support']}/",
        lambda person: MADE.update({(person.tenant.slug, "support"): _answered(person)}),
    ),
    organisation("billing/seats"),
    organisation("billing/wallet"),
    Place(lambda person: f"{person.home}/billing/wallet", lambda person: things.credited(person)),
    project("keys"),
    project("keys/new"),
    Place(lambda person: f"{person.workspace}/keys/{person.key_row.public_id}"),
    Place(lambda person: f"{person.workspace}/keys/{person.key_row.public_id}/change"),
    Place(lambda person: f"{person.workspace}/keys/{person.key_row.public_id}/access"),
    Place(lambda person: f"{person.workspace}/keys/{person.key_row.public_id}/rotate"),
    project("webhooks/"),
    project("webhooks/new"),
    _made("webhook", lambda p: things.made_webhook(p).public_id, "webhooks/{}/"),
    _again("webhook", "webhooks/{}/change"),
    _again("webhook", "webhooks/{}/rotate"),
    _again("webhook", "webhooks/{}/delete"),
    organisation("members"),
    organisation("audit"),
    organisation("settings"),
    Place(lambda person: f"{person.home}/settings/projects/{person.project.public_id}/limits"),
    organisation("settings/close"),
    Place(lambda person: "/account/"),
    Place(lambda person: "/account/2fa/"),
    Place(lambda person: "/account/sessions/"),
    Place(lambda person: "/o/new"),
]
