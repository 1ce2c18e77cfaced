"""Support: what the organisation asks, and what staff answer."""

from typing import Any

from django import forms
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.csrf import csrf_exempt, csrf_protect

from console.paging import page_number, page_of
from console.views.base import ConsoleView, Download
from customers import limits
from customers.models import Thread
from customers.selectors import threads as selectors
from customers.services import threads as services
from customers.services.threads import Enclosed
from data.receiving import Intake
from kit import storage
from kit.errors import NotFound
from kit.streams import attachment
from tenants.access import memberships_of
from tenants.models import User
from tenants.visiting import Visitor


class MessageForm(forms.Form):
    """What a member writes."""

    text = forms.CharField(
        label=gettext_lazy("Message"),
        max_length=limits.TEXT,
        widget=forms.Textarea(attrs={"rows": 7}),
        error_messages={"required": gettext_lazy("Write what we are to know.")},
    )
    attachment = forms.FileField(
        label=gettext_lazy("File"),
        required=False,
        help_text=gettext_lazy("One file of at most 10 MB: a log, a picture, a sample of rows. Never a key."),
        error_messages={"empty": gettext_lazy("The file is empty. Choose another, or none.")},
    )


class ThreadForm(MessageForm):
    """A new thread."""

    subject = forms.CharField(
        label=gettext_lazy("Subject"),
        max_length=limits.SUBJECT,
        error_messages={"required": gettext_lazy("Say in a few words what it is about.")},
    )
    field_order = ["subject", "text", "attachment"]


class SupportView(ConsoleView):
    """A page about threads. It works for a suspended organisation too, which has a question more than others."""

    section = "support"
    works_suspended = True

    def thread(self, public_id: str) -> Thread:
        """The thread of the address."""
        return selectors.thread_by_id(public_id)

    def crumbs(self) -> list[dict[str, str]]:
        """Above a thread."""
        return [{"label": _("Support"), "href": self.org_path("support")}]

    def user(self) -> User:
        """Who writes."""
        user = self.request.user
        assert isinstance(user, User)  # noqa: S101 - the door of the console
        return user


class Support(SupportView):
    """All threads, the latest news first."""

    required_scopes = {"GET": "support.read"}
    template_name = "console/support/threads.html"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """Show a page of them."""
        state = request.GET.get("state", "")
        state = state if state in Thread.State.values else ""
        rows = selectors.threads(user_id=self.user().pk, state=state)
        tabs = [
            {
                "label": label,
                "href": f"?state={value}" if value else self.org_path("support"),
                "current": value == state,
            }
            for value, label in [("", _("All")), *Thread.State.choices]
        ]
        return self.page(
            {
                "page": page_of(rows, page_number(request.GET.get("page"))),
                "state": state,
                "tabs": tabs,
                "new_url": self.org_path("support_new"),
                "may": self.can("support.write"),
            }
        )


@method_decorator(csrf_exempt, name="dispatch")
class Writing(SupportView):
    """A form that may bring a file. Its bytes go to storage as they arrive, before the tenant's transaction opens.

    Exempt from the middleware's check against cross-site posts, which would read the form first; `dispatch` has it.
    """

    intake: Intake | None = None
    done_with: bool = False
    """Whether a row points at what was stored."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Receive the file before anything reads the form; keep it only if a row points at it in the end."""
        if request.method == "POST" and request.user.is_authenticated:
            seats = memberships_of(request.user.pk)
            seat = next((one for one in seats if one.tenant_slug == kwargs["org"]), None)
            if seat is not None and "support.write" in seat.scopes:
                self.intake = Intake(
                    tenant_id=seat.tenant_id, field="attachment", limit=limits.ATTACHMENT_BYTES, swallow=True
                )
                request.upload_handlers = [self.intake]
        kept = False
        try:
            answer: HttpResponseBase = csrf_protect(super().dispatch)(request, *args, **kwargs)
            kept = self.done_with and answer.status_code < 400
            return answer
        finally:
            if self.intake is not None and not kept:
                self.intake.drop()

    def is_filled(self, form: MessageForm) -> bool:
        """Whether the form and its file can be taken."""
        filled = form.is_valid()
        if self.intake is not None and self.intake.refused is not None:
            form.add_error("attachment", self.intake.refused.message)
            return False
        return filled

    def enclosed(self, form: MessageForm) -> Enclosed | None:
        """The file that came, if one did."""
        stored = self.intake.stored if self.intake is not None else None
        given = form.cleaned_data["attachment"]
        return Enclosed(stored, str(given.name)) if stored is not None and given else None


class SupportNew(Writing):
    """Ask something."""

    required_scopes = {"GET": "support.write", "POST": "support.write"}
    template_name = "console/support/new.html"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """The form."""
        return self._form(ThreadForm())

    def post(self, request: HttpRequest) -> HttpResponseBase:
        """Open the thread and go there."""
        form = ThreadForm(request.POST, request.FILES)
        if self.is_filled(form):
            words = {name: form.cleaned_data[name] for name in ("subject", "text")}
            made = self.attempt(
                form, lambda: services.thread_open(**words, by=self.user(), enclosed=self.enclosed(form))
            )
            if made is not None:
                self.done_with = True
                return self.done(self.org_path("support_thread", made.public_id))
        return self._form(form, 422)

    def _form(self, form: ThreadForm, status: int = 200) -> HttpResponseBase:
        context = {"form": form, "crumbs": self.crumbs(), "back_url": self.org_path("support")}
        return self.page(context, status=status)


class SupportThread(SupportView):
    """One thread, and a form to go on."""

    required_scopes = {"GET": "support.read"}
    template_name = "console/support/thread.html"

    def get(self, request: HttpRequest, thread: str) -> HttpResponseBase:
        """Show it; what staff wrote is then read, unless it is staff who look."""
        row = self.thread(thread)
        if not isinstance(self.seat, Visitor) and request.method == "GET":
            services.thread_seen(thread=row, user_id=self.user().pk)
        return self.shown(row, MessageForm())

    def shown(self, row: Thread, form: MessageForm, status: int = 200) -> HttpResponseBase:
        """The page."""
        context = {
            "thread": row,
            "messages_written": selectors.messages(row),
            "form": form,
            "may": self.can("support.write"),
            "solved": row.state == Thread.State.SOLVED,
            "crumbs": self.crumbs(),
            "reply_url": self.org_path("support_reply", row.public_id),
            "solve_url": self.org_path("support_solve", row.public_id),
        }
        return self.page(context, template="console/support/thread.html", status=status)


class SupportReply(Writing, SupportThread):
    """Write in a thread."""

    required_scopes = {"GET": "support.read", "POST": "support.write"}

    def get(self, request: HttpRequest, thread: str) -> HttpResponseBase:
        """Somebody came back to the address of the form."""
        return redirect(self.org_path("support_thread", self.thread(thread).public_id))

    def post(self, request: HttpRequest, thread: str) -> HttpResponseBase:
        """Keep it, and show the thread with it."""
        row, form = self.thread(thread), MessageForm(request.POST, request.FILES)
        if self.is_filled(form):
            text = form.cleaned_data["text"]
            made = self.attempt(
                form,
                lambda: services.thread_ask(thread=row, text=text, by=self.user(), enclosed=self.enclosed(form)),
            )
            if made is not None:
                self.done_with = True
                return self.done(f"{self.org_path('support_thread', row.public_id)}#{made.public_id}")
        return self.shown(row, form, 422)


class SupportSolve(SupportView):
    """Say that nothing is left to do."""

    required_scopes = {"POST": "support.write"}

    def post(self, request: HttpRequest, thread: str) -> HttpResponseBase:
        """Do it; twice is the same."""
        row = self.thread(thread)
        if row.state != Thread.State.SOLVED:
            services.thread_solve(thread_id=row.pk)
        return self.done(self.org_path("support_thread", row.public_id))


class SupportFile(Download):
    """A file of a thread."""

    section = "support"
    required_scopes = {"GET": "support.read"}

    def get(self, request: HttpRequest, thread: str, file: str) -> HttpResponseBase:
        """Send it as a download, whatever it is: nothing that somebody sent is shown by our own address."""
        row = selectors.attachment_by_id(selectors.thread_by_id(thread), file)
        if not storage.exists(row.storage_key):
            raise NotFound("The file is not there any more.")
        return attachment(
            request,
            storage.read_chunks(row.storage_key),
            filename=row.filename,
            content_type="application/octet-stream",
            size=row.bytes,
        )
