"""Members of an organisation: roles, removal, invitations."""

from typing import Any

from django import forms
from django.db.models import Q
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext as _tn

from billing.selectors.limits import members_limits
from billing.services.room import seat_offer
from console.people.limits import in_words
from console.people.mail import invitation_link, lands_here, send_invitation
from console.views.base import ConsoleView, Outside
from kit.clock import now
from kit.ids import parse_id
from tenants import selectors
from tenants.access import PERMISSIONS
from tenants.models import Invitation, Member, Role, User
from tenants.services.invitations import invitation_of, invitation_renew, invitation_revoke
from tenants.services.organisations import member_change_role, member_of, member_remove

LINKS = "invitation_links"
"""Session key, development only: links by invitation, to copy from the page."""
ROLE_HINTS: dict[str, Any] = {
    Role.OWNER: _("everything, and closing the organisation"),
    Role.ADMIN: _("everything but owners"),
    Role.BILLING: _("money and usage, no data"),
    Role.DEVELOPER: _("data, jobs, models and keys"),
    Role.VIEWER: _("reads, changes nothing"),
}


class InviteForm(forms.Form):
    """A seat for an address."""

    email = forms.EmailField(
        label=_("E-mail"), max_length=254, widget=forms.EmailInput(attrs={"autocomplete": "off", "inputmode": "email"})
    )
    role = forms.ChoiceField(label=_("Role"), initial=Role.DEVELOPER)

    def __init__(self, *args: Any, may_own: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["role"]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101
        field.choices = role_choices(may_own)


def role_choices(may_own: bool) -> list[tuple[str, str]]:
    """Roles the caller may give, with what they mean."""
    return [(role.value, f"{role.label}: {ROLE_HINTS[role]}") for role in Role if may_own or role != Role.OWNER]


def keys_in_use(member: Member) -> int:
    """API keys that a member made, in every project, and that work: they belong to the project, and stay."""
    alive = selectors.keys_open().filter(created_by=member.user_id, project__in=selectors.projects())
    return alive.filter(Q(expires_at=None) | Q(expires_at__gt=now())).count()


class _Members(ConsoleView):
    section = "members"
    template_name = "console/people/members.html"

    def member(self, text: str) -> Member:
        """A member by public id; NotFound otherwise."""
        return member_of(parse_id("mem_", text))

    def mail(self, invitation: Invitation, token: str) -> str:
        """Send the link; returns what to say about it."""
        link = invitation_link(token)
        if lands_here():
            self.request.session[LINKS] = {**self.request.session.get(LINKS, {}), str(invitation.pk): link}
        sent = send_invitation(
            to=invitation.email,
            organisation=self.tenant.name,
            role=str(Role(invitation.role).label),
            inviter=str(self.request.user.get_full_name()),  # type: ignore[union-attr]
            link=link,
            until=invitation.expires_at,
        )
        if sent:
            return _t("Invitation sent to %(email)s.") % {"email": invitation.email}
        return _t("The mail server did not take the mail to %(email)s. Send it again in a few minutes.") % {
            "email": invitation.email
        }

    def mailed(self, invitation: Invitation, token: str) -> Outside:
        """Send the link once the invitation is there, while no transaction waits for the mail server."""
        return Outside(lambda: self.mail(invitation, token), lambda said: self.done(self.org_path("members"), said))

    def listing(self, form: InviteForm | None = None, status: int = 200) -> HttpResponseBase:
        """The page."""
        may_own = self.can("tenant.own")
        links = self.request.session.get(LINKS, {}) if lands_here() else {}
        may = self.can("members.write")
        limits = members_limits()
        members = [
            (
                row,
                may and row.pk != self.seat.member_id and (may_own or row.role != Role.OWNER),
                in_words(limits.get(row.user_id, {})),
            )
            for row in selectors.members()
        ]
        invitations = [
            (row, row.expires_at <= now(), links.get(str(row.pk), "")) for row in selectors.invitations_open()
        ]
        context = {
            "members": members,
            "invitations": invitations if may else [],
            "roles": [(role.value, role.label) for role in Role if may_own or role != Role.OWNER],
            "form": form or InviteForm(may_own=may_own),
            "may": may,
            "role_hints": [(role.label, ROLE_HINTS[role]) for role in Role],
        }
        return self.page(context, status=status)


class MembersPage(_Members):
    """Who is in, and who was asked."""

    required_scopes = {"GET": "members.read", "POST": "members.write"}

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """Show them."""
        return self.listing()

    def post(self, request: HttpRequest) -> HttpResponseBase | Outside:
        """Invite somebody."""
        form = InviteForm(request.POST, may_own=self.can("tenant.own"))
        inviter = request.user
        assert isinstance(inviter, User)  # noqa: S101 - behind the console's door
        if form.is_valid():
            made = self.attempt(form, lambda: seat_offer(**form.cleaned_data, invited_by=inviter, by=self.auth))
            if made is not None:
                return self.mailed(*made)
        return self.listing(form, 422)


class ChangeRole(_Members):
    """Another role for a member."""

    required_scopes = {"POST": "members.write"}

    def post(self, request: HttpRequest, member: str) -> HttpResponseBase:
        """Change it."""
        row = member_change_role(member=self.member(member), role=request.POST.get("role", ""), by=self.auth)
        said = _t("%(name)s is now %(role)s.") % {"name": row.user.get_full_name(), "role": Role(row.role).label}
        if "inference" not in PERMISSIONS[row.role] and (keys := keys_in_use(row)):
            words = _tn("%(n)s API key they made goes on working.", "%(n)s API keys they made go on working.", keys)
            said = f"{said} {words % {'n': keys}}"
        return self.done(self.org_path("members"), said)


class RemoveMember(_Members):
    """Take a seat away."""

    required_scopes = {"GET": "members.write", "POST": "members.write"}
    template_name = "console/people/member_remove.html"

    def get(self, request: HttpRequest, member: str) -> HttpResponseBase:
        """Ask."""
        row = self.member(member)
        return self.page({"member": row, "keys": keys_in_use(row)})

    def post(self, request: HttpRequest, member: str) -> HttpResponseBase:
        """Do it."""
        row = self.member(member)
        member_remove(member=row, by=self.auth)
        said = _t("%(name)s was removed.") % {"name": row.user.get_full_name()}
        return self.done(self.org_path("members"), said)


class Resend(_Members):
    """A fresh link for an open invitation."""

    required_scopes = {"POST": "members.write"}

    def post(self, request: HttpRequest, invitation: str) -> Outside:
        """Renew and mail it."""
        row = invitation_of(parse_id("inv_", invitation))
        return self.mailed(row, invitation_renew(invitation=row, by=self.auth))


class Withdraw(_Members):
    """Take an invitation back."""

    required_scopes = {"POST": "members.write"}

    def post(self, request: HttpRequest, invitation: str) -> HttpResponseBase:
        """Do it."""
        row = invitation_of(parse_id("inv_", invitation))
        invitation_revoke(invitation=row)
        said = _t("The invitation to %(email)s was withdrawn.") % {"email": row.email}
        return self.done(self.org_path("members"), said)
