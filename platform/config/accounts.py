"""How people sign in: the settings of allauth that are the same in every installation."""

AUTH_USER_MODEL = "tenants.User"
AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "allauth.account.auth_backends.AuthenticationBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_EMAIL_VERIFICATION = "mandatory"
ACCOUNT_CONFIRM_EMAIL_ON_GET = False
ACCOUNT_LOGIN_ON_EMAIL_CONFIRMATION = True
ACCOUNT_EMAIL_SUBJECT_PREFIX = ""
ACCOUNT_PREVENT_ENUMERATION = True
ACCOUNT_LOGOUT_ON_PASSWORD_CHANGE = False  # this session stays; every other one ends with the old password
ACCOUNT_REAUTHENTICATION_REQUIRED = True
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_TOTP_ISSUER = "Tunesmith"
MFA_TOTP_PERIOD = 30
MFA_TOTP_TOLERANCE = 1  # RFC 6238 part 5.2: a code may be one step old by the time it arrives
USERSESSIONS_TRACK_ACTIVITY = True
ACCOUNT_EMAIL_NOTIFICATIONS = True
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_ADAPTER = "console.people.accounts.AccountAdapter"
ACCOUNT_FORMS = {
    "login": "console.people.accounts.LoginForm",
    "signup": "console.people.accounts.SignupForm",
    "add_email": "console.people.accounts.AddEmailForm",
    "change_password": "console.people.accounts.ChangePasswordForm",
    "set_password": "console.people.accounts.SetPasswordForm",
    "reset_password": "console.people.accounts.ResetPasswordForm",
    "reset_password_from_key": "console.people.accounts.ResetPasswordKeyForm",
    "reauthenticate": "console.people.accounts.ReauthenticateForm",
}
MFA_FORMS = {
    "authenticate": "console.people.accounts.AuthenticateForm",
    "reauthenticate": "console.people.accounts.MfaReauthenticateForm",
    "activate_totp": "console.people.accounts.ActivateForm",
    "add_webauthn": "console.people.accounts.AddPasskeyForm",
}
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/o/"
LOGOUT_REDIRECT_URL = "/"
