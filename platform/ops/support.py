"""The staff's side of support: what waits, longest first, and a thread to answer."""

from uuid import UUID

from django import forms
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from customers.limits import TEXT
from customers.models import Thread
from customers.selectors import threads as selectors
from customers.services.threads import thread_seen_by_staff
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


def thread(request: HttpRequest, thread: UUID) -> HttpResponseBase:
    """One thread; a POST answers or closes it."""
    row = _thread(thread)
    form = AnswerForm()
    if request.method == "POST":
        by = staff_of(request, "on the thread's page")
        try:
            if request.POST.get("do") == "solve":
                care.thread_solve(thread=row, by=by)
                return redirect(_place(row))
            form = AnswerForm(request.POST)
            if form.is_valid():
                made = care.thread_answer(thread=row, text=form.cleaned_data["text"], by=by)
                return redirect(f"{_place(row)}#{made.public_id}")
        except Conflict:  # solved meanwhile, which is what was wanted
            return redirect(_place(row))
        except ApiError as error:
            form.add_error("text", error.message)
    news = row.is_news_to_staff
    thread_seen_by_staff(thread=row)
    context = {"thread": row, "news": news, "messages_written": selectors.messages(row), "form": form}
    return answer(request, "ops/support/thread.html", context, 422 if request.method == "POST" else 200)


def _place(row: Thread) -> str:
    return reverse("admin:support_thread", args=[row.pk])


def _thread(thread_id: UUID) -> Thread:
    try:
        return selectors.thread_for_staff(thread_id)
    except NotFound as error:
        raise Http404 from error


def file(request: HttpRequest, thread: UUID, file: UUID) -> HttpResponseBase:
    """A file that a customer sent: a download, never shown."""
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
