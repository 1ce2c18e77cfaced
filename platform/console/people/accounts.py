"""How django-allauth speaks here: our words on its forms and errors, and where a person goes after signing in."""

from typing import Any, ClassVar

from allauth.account import forms as account_forms
from allauth.account.adapter import DefaultAccountAdapter
from allauth.core.internal.cryptokit import normalize_user_code
from allauth.mfa.base import forms as mfa_forms
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.forms import ActivateTOTPForm
from allauth.mfa.webauthn.forms import AddWebAuthnForm
from django import forms
from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

INVITED_EMAIL = "invited_email"
"""Session key: the address whose invitation link was opened here."""


class AccountAdapter(DefaultAccountAdapter):
    """Our wording of allauth's errors, and what an invitation proves."""

    def is_email_verified(self, request: HttpRequest, email: str) -> bool:
        """The link came by mail, so whoever opened it owns that address, and no other."""
        return str(request.session.get(INVITED_EMAIL, "")).lower() == email.lower()

    error_messages: ClassVar[dict[str, Any]] = {
        **DefaultAccountAdapter.error_messages,
        "account_inactive": _("This account is closed."),
        "cannot_remove_primary_email": _("This is your primary address. Make another one primary first."),
        "duplicate_email": _("This address is on your account already."),
        "email_password_mismatch": _("The address and the password do not match. Check both, or reset the password."),
        "email_taken": _("An account with this address exists. Sign in instead."),
        "enter_current_password": _("This is not your current password."),
        "incorrect_code": _("This code is wrong or has expired. Enter the one shown now."),
        "incorrect_password": _("This is not your password."),
        "invalid_password_reset": _("This link has expired or was used before."),
        "max_email_addresses": _("An account has at most %d addresses. Remove one first."),
        "rate_limited": _("Too many tries. Wait a few minutes, then try again."),
        "same_as_current": _("This is the value you have now."),
        "too_many_login_attempts": _("Too many tries. Wait 5 minutes, or reset the password."),
        "unknown_email": _("No account has this address."),
        "unverified_primary_email": _("Confirm the address before you make it primary."),
    }


class _OurWords:
    """Gives fields of a form our labels, drops placeholders that repeat the label."""

    labels: ClassVar[dict[str, Any]] = {
        "login": _("E-mail"),
        "email": _("E-mail"),
        "password": _("Password"),
        "password1": _("Password"),
        "password2": _("Password again"),
        "oldpassword": _("Current password"),
    }
    hints: ClassVar[dict[str, Any]] = {"password1": _("At least 10 characters; a sentence is fine.")}
    fields: dict[str, forms.Field]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():
            field.widget.attrs.pop("placeholder", None)
            field.label = self.labels.get(name, field.label)
            field.help_text = self.hints.get(name, "")


class _Code(_OurWords):
    """A six-digit code."""

    labels: ClassVar[dict[str, Any]] = {"code": _("Code")}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["code"].widget.attrs |= {"autocomplete": "one-time-code", "autofocus": True, "spellcheck": "false"}


class LoginForm(_OurWords, account_forms.LoginForm):
    """Sign in."""


class SignupForm(_OurWords, account_forms.SignupForm):
    """Create an account: address and password; the organisation is named at the first sign-in."""


class AddEmailForm(_OurWords, account_forms.AddEmailForm):
    """Another address."""


class ChangePasswordForm(_OurWords, account_forms.ChangePasswordForm):
    """Change the password."""

    labels: ClassVar[dict[str, Any]] = {**_OurWords.labels, "password1": _("New password")}


class SetPasswordForm(_OurWords, account_forms.SetPasswordForm):
    """First password of an account made without one."""


class ResetPasswordForm(_OurWords, account_forms.ResetPasswordForm):
    """Ask for a reset link."""


class ResetPasswordKeyForm(_OurWords, account_forms.ResetPasswordKeyForm):
    """Set a new password by link."""

    labels: ClassVar[dict[str, Any]] = {**_OurWords.labels, "password1": _("New password")}


class ReauthenticateForm(_OurWords, account_forms.ReauthenticateForm):
    """Confirm it is you, by password."""


class _EachCodeOnce:
    """A code of the authenticator app opens one door, for as long as it is good: allauth forgets it after one step."""

    user: Any
    authenticator: Authenticator

    def clean_code(self) -> str:
        """The code, unless it opened a door before."""
        code = str(super().clean_code())  # type: ignore[misc]
        good_for = settings.MFA_TOTP_PERIOD * (2 * settings.MFA_TOTP_TOLERANCE + 1)
        if self.authenticator.type == Authenticator.Type.TOTP and not cache.add(
            f"totp-used:{self.user.pk}:{normalize_user_code(code)}", 1, good_for
        ):
            raise forms.ValidationError(AccountAdapter.error_messages["incorrect_code"], code="incorrect_code")
        return code


class AuthenticateForm(_EachCodeOnce, _Code, mfa_forms.AuthenticateForm):
    """Second step of signing in."""

    hints: ClassVar[dict[str, Any]] = {"code": _("From your authenticator app, or one of your recovery codes.")}


class MfaReauthenticateForm(_EachCodeOnce, _Code, mfa_forms.ReauthenticateForm):
    """Confirm it is you, by code."""

    hints: ClassVar[dict[str, Any]] = {"code": _("From your authenticator app, or one of your recovery codes.")}


class ActivateForm(_Code, ActivateTOTPForm):
    """Turn the authenticator app on."""

    hints: ClassVar[dict[str, Any]] = {"code": _("The six digits the app shows now.")}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["code"].widget.attrs |= {"inputmode": "numeric", "maxlength": 8}


class AddPasskeyForm(_OurWords, AddWebAuthnForm):
    """A passkey or security key."""

    labels: ClassVar[dict[str, Any]] = {"name": _("Name"), "passwordless": _("Sign in with this key alone")}
    hints: ClassVar[dict[str, Any]] = {
        "name": _("To tell your keys apart."),
        "passwordless": _("No password is asked; the key checks a fingerprint, a face or a PIN."),
    }
