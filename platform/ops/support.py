"""The staff's side of support: what waits, longest first, and a thread to answer."""

from contextlib import suppress
from uuid import UUID

from django import forms
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from django.views.decorators.csrf import csrf_exempt, csrf_protect

from customers.limits import ATTACHMENT_BYTES, TEXT
from customers.models import Thread
from customers.selectors import threads as selectors
from customers.services.threads import Enclosed, thread_seen_by_staff
from data.receiving import Intake
from kit import storage
from kit.errors import ApiError, Conflict, NotFound
from kit.streams import attachment
from ops import care
from ops.customers import answer, staff_of

SIZE = 50
STATES = (("staff", _("Waits for us")), *Thread.State.choices)


class AnswerForm(forms.Form):
    """What staff write."""

    text = forms.CharField(
        label=_("Answer"),
        max_length=TEXT,
        widget=forms.Textarea(attrs={"rows": 7}),
        error_messages={"required": _("Write an answer.")},
    )
    attachment = forms.FileField(
        label=_("File"),
        required=False,
        help_text=_("One file of at most 10 MB. The customer can download it for as long as the thread is there."),
        error_messages={"empty": _("The file is empty. Choose another, or none.")},
    )


def desk(request: HttpRequest) -> HttpResponseBase:
    """Threads of all customers."""
    state = request.GET.get("state", "staff")
    state = state if state in dict(STATES) else ""
    counted = {"staff": selectors.desk(state="staff").count()}
    tabs = [
        {"label": label, "href": f"?state={value or 'all'}", "current": value == state, "count": counted.get(value)}
        for value, label in [*STATES[:1], ("", _("All")), *STATES[1:]]
    ]
    here = Paginator(selectors.desk(state=state), SIZE).get_page(request.GET.get("page"))
    return answer(request, "ops/support/desk.html", {"page": here, "tabs": tabs, "state": state})


@csrf_exempt
def thread(request: HttpRequest, thread: UUID) -> HttpResponseBase:
    """One thread; a POST answers or closes it. Exempt from the middleware's check against cross-site posts, which would
    read the form before its file has somewhere to go; `_written` has it."""
    row = _thread(thread)
    if request.method != "POST":
        return _shown(request, row, AnswerForm())
    intake = Intake(tenant_id=row.tenant_id, field="attachment", limit=ATTACHMENT_BYTES, swallow=True)
    request.upload_handlers = [intake]
    kept = False
    try:
        page = _written(request, row, intake)
        kept = page.status_code < 400
        return page
    finally:
        if not kept:
            intake.drop()


@csrf_protect
def _written(request: HttpRequest, row: Thread, intake: Intake) -> HttpResponseBase:
    """What a POST does."""
    by = staff_of(request, "on the thread's page")
    form = AnswerForm(request.POST, request.FILES)
    try:
        if request.POST.get("do") == "solve":
            with suppress(Conflict):  # solved meanwhile, which is what was wanted
                care.thread_solve(thread=row, by=by)
            intake.drop()
            return redirect(_place(row))
        if intake.refused is not None:
            form.add_error("attachment", intake.refused.message)
        if form.is_valid():
            given = form.cleaned_data["attachment"]
            enclosed = Enclosed(intake.stored, str(given.name)) if intake.stored is not None and given else None
            made = care.thread_answer(thread=row, text=form.cleaned_data["text"], by=by, enclosed=enclosed)
            return redirect(f"{_place(row)}#{made.public_id}")
    except ApiError as error:
        form.add_error(error.param if error.param in form.fields else "text", error.message)
    return _shown(request, row, form, 422)


def _shown(request: HttpRequest, row: Thread, form: AnswerForm, status: int = 200) -> HttpResponseBase:
    news = row.is_news_to_staff
    thread_seen_by_staff(thread=row)
    context = {"thread": row, "news": news, "messages_written": selectors.messages(row), "form": form}
    return answer(request, "ops/support/thread.html", context, status)


def _place(row: Thread) -> str:
    return reverse("admin:support_thread", args=[row.pk])


def _thread(thread_id: UUID) -> Thread:
    try:
        return selectors.thread_for_staff(thread_id)
    except NotFound as error:
        raise Http404 from error


def file(request: HttpRequest, thread: UUID, file: UUID) -> HttpResponseBase:
    """A file of a message: a download, never shown."""
    try:
        row = selectors.attachment_for_staff(thread, file)
    except NotFound as error:
        raise Http404 from error
    if not storage.exists(row.storage_key):
        raise Http404
    return attachment(
        request,
        storage.read_chunks(row.storage_key),
        filename=row.filename,
        content_type="application/octet-stream",
        size=row.bytes,
    )
