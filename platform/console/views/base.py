"""The door of every console page: seat, organisation, project and role are resolved once, here.

Strangers and wrong slugs get the same 404. Everything inside runs in the tenant's scope, in one transaction, rendering
included; views hand on only objects this class or a selector has checked. A visit of staff is held to looking twice: by
the method, here, and by PostgreSQL, which runs its transaction read-only.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar, cast
from uuid import UUID

from django import forms
from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.db import connection, transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.generic import View

from billing.selectors.dunning import overdue
from billing.selectors.topups import topup_failed
from console.around import Around
from console.shell import Shell, shell_of
from kit.errors import ApiError, NotFound, PermissionDenied
from kit.http import client_ip
from tenants import audit, selectors
from tenants.access import AuthContext, Membership, memberships_of
from tenants.errors import TenantSuspended, VisitReadOnly
from tenants.models import Project, Tenant, User
from tenants.scope import tenant_scope
from tenants.visiting import Visitor, visitor_of

Result = TypeVar("Result")
LOOKING = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True, slots=True)
class Outside:
    """What a view returns when an answer needs what no transaction may wait for: an engine, a mail server, storage, or
    a question to Stripe.

    Everything was checked and committed when `work` runs. `then` makes the page of its result, in a scope of its own.
    """

    work: Callable[[], Any]
    then: Callable[[Any], HttpResponseBase]


class ConsoleView(View):
    """A page under `/o/<org>/`, with or without `/p/<project>/`.

    Subclasses set `section` (the navigation entry), `required_scopes` per method and `template_name`, and write `get`
    and `post`. They find `self.tenant`, `self.project`, `self.auth`, `self.seat` ready.
    """

    section: ClassVar[str] = ""
    required_scopes: ClassVar[dict[str, str]] = {}
    """Method → scope, for example {"GET": "datasets.read", "POST": "datasets.write"}; HEAD and OPTIONS follow GET."""
    template_name: ClassVar[str] = ""
    works_suspended: ClassVar[bool] = False
    """Whether members of a suspended organisation may change something here."""
    open_to_visits: ClassVar[bool] = True
    """Whether staff on a visit may open it."""

    tenant: Tenant
    project: Project
    auth: AuthContext
    seat: Membership
    shell: Shell

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Resolve, check, enter the scope, answer."""
        if not request.user.is_authenticated:
            return redirect_to_login(request.get_full_path())
        org = kwargs.pop("org")
        seats = memberships_of(request.user.pk)
        seat = next((s for s in seats if s.tenant_slug == org), None) or visitor_of(request, org)
        if seat is None or seat.tenant_status == "closed":
            raise Http404
        try:
            with tenant_scope(seat.tenant_id):
                if isinstance(seat, Visitor):
                    with connection.cursor() as cursor:
                        cursor.execute("SET TRANSACTION READ ONLY")
                answer = self._inside(request, seat, seats, *args, **kwargs)
            return self._outside(answer) if isinstance(answer, Outside) else answer
        except NotFound as error:
            raise Http404 from error
        except ApiError as error:
            return self.problem(error).render()

    def _inside(
        self, request: HttpRequest, seat: Membership, seats: list[Membership], *args: Any, **kwargs: Any
    ) -> HttpResponseBase | Outside:
        self.seat, self.tenant = seat, selectors.tenant_current()
        projects = list(selectors.projects())
        self.project = self._project(request, projects, kwargs.pop("project", None))
        self.auth = seat.context(
            user_id=request.user.pk,  # type: ignore[arg-type]
            label=str(request.user.email),  # type: ignore[union-attr]
            project_id=self.project.pk,
            ip=client_ip(request),
        )
        self.shell = shell_of(
            tenant=self.tenant,
            project=self.project,
            projects=projects,
            seats=seats,
            scopes=self.auth.scopes,
            section=self.section,
            visit=seat if isinstance(seat, Visitor) else None,
            overdue=overdue(),
            topup=topup_failed() if "billing.read" in self.auth.scopes else None,
        )
        with self._acting():
            self._check_scope(request.method or "GET")
            return self._rendered(super().dispatch(request, *args, **kwargs))

    def _outside(self, answer: Outside) -> HttpResponseBase:
        with self._acting():
            result = answer.work()
        with tenant_scope(self.tenant.pk), self._acting():
            return cast("HttpResponseBase", self._rendered(answer.then(result)))

    @contextlib.contextmanager
    def _acting(self) -> Iterator[None]:
        """What is done inside is the member's doing in the audit log."""
        token = audit.set_actor(self.auth)
        try:
            yield
        finally:
            audit.reset_actor(token)

    def _rendered(self, answer: HttpResponseBase | Outside) -> HttpResponseBase | Outside:
        """Pages are rendered while their transaction is open."""
        if isinstance(answer, TemplateResponse) and not answer.is_rendered:
            answer.render()
        return answer

    def _project(self, request: HttpRequest, projects: list[Project], slug: str | None) -> Project:
        """The project of the URL; on organisation pages the one last worked in, else the oldest."""
        wanted = slug or request.session.get(f"project:{self.tenant.pk}")
        found = next((p for p in projects if p.slug == wanted), None)
        if slug is not None:
            if found is None:
                raise Http404
            if request.session.get(f"project:{self.tenant.pk}") != slug:
                request.session[f"project:{self.tenant.pk}"] = slug
            return found
        if found is None and not projects:
            raise Http404
        return found or projects[0]

    def _check_scope(self, method: str) -> None:
        if self.tenant.status != "active" and method not in LOOKING and not self.works_suspended:
            raise TenantSuspended
        scope = self.required_scopes.get("GET" if method in ("HEAD", "OPTIONS") else method)
        if isinstance(self.seat, Visitor) and not self._is_looking(method, scope):
            raise VisitReadOnly
        if scope:
            self.auth.require(scope)

    def _is_looking(self, method: str, scope: str | None) -> bool:
        """Whether staff on a visit may do this: the one place where all their writes are refused."""
        return self.open_to_visits and method in LOOKING and (not scope or scope in self.auth.scopes)

    def can(self, scope: str) -> bool:
        """Whether the member's role has a scope."""
        return scope in self.auth.scopes

    def mail_to(self) -> UUID | None:
        """Who hears by e-mail how what is started here ends; None where they have switched that off."""
        user = self.request.user
        return user.pk if isinstance(user, User) and user.job_mail else None

    def page(self, context: dict[str, Any] | None = None, *, template: str = "", status: int = 200) -> TemplateResponse:
        """The page's template with its surroundings."""
        full = {
            "shell": self.shell,
            "tenant": self.tenant,
            "project": self.project,
            "scopes": self.auth.scopes,
            "role": self.auth.role,
            "around": Around(self.tenant.pk, UUID(self.auth.actor_id)),
            **(context or {}),
        }
        return TemplateResponse(self.request, template or self.template_name, full, status=status)

    def problem(self, error: ApiError) -> TemplateResponse:
        """The page for what a service or the role refused; the transaction has been rolled back."""
        return self.page({"problem": error}, template="console/problem.html", status=error.status)

    def attempt(self, form: forms.BaseForm, work: Callable[[], Result]) -> Result | None:
        """Run a service; what it refuses lands on the form (on the field the error names) and changes nothing."""
        try:
            with transaction.atomic():
                return work()
        except (NotFound, PermissionDenied):
            raise
        except ApiError as error:
            names: dict[str, str] = getattr(form, "api_names", {})
            name = names.get(error.param or "", error.param)
            form.add_error(name if name in form.fields else None, error.message)
            return None

    def org_path(self, name: str, *args: Any) -> str:
        """URL of a page of this organisation."""
        return reverse(f"console:{name}", args=[self.tenant.slug, *args])

    def project_path(self, name: str, *args: Any) -> str:
        """URL of a page of this project."""
        return reverse(f"console:{name}", args=[self.tenant.slug, self.project.slug, *args])

    def done(self, path: str, message: object = "") -> HttpResponseBase:
        """After a change: go to a page, with a word where the change leaves no other trace. Uploads by script get the
        address in a header, so that they can show progress to the end."""
        if message:
            messages.success(self.request, str(message))
        if self.request.headers.get("x-requested-with") == "XMLHttpRequest":
            return HttpResponse(status=204, headers={"X-Location": path})
        return redirect(path)


class Download(ConsoleView):
    """A file to take along. Staff on a visit look and take nothing."""

    open_to_visits = False
