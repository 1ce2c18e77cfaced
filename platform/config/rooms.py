"""What the house is made of: its rooms, the other apps beside them, and what each request goes through."""

from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]

ROOMS = [
    room
    for room in (
        "kit",
        "tenants",
        "hooks",
        "billing",
        "data",
        "registry",
        "training",
        "evaluation",
        "serving",
        "batches",
        "customers",
        "orders",
        "gateway",
        "console",
        "ops",
        "config",
    )
    if any((_ROOT / shelf / room / "apps.py").exists() for shelf in ("", "platform"))
]
INSTALLED_APPS = [
    "unfold",
    "django.contrib.admin.apps.SimpleAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.postgres",
    "django.contrib.humanize",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django_cotton",
    "django_htmx",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "rest_framework",
    "drf_spectacular",
    *ROOMS,
]
MIDDLEWARE = [
    "kit.http.RequestId",
    "config.traced.Traced",
    "kit.access.Access",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "kit.http.ContentSecurityPolicy",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "ops.door.StaffSessions",
    "django.middleware.locale.LocaleMiddleware",
    "kit.http.Slashes",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "console.people.seen.SessionsSeen",
    "django_htmx.middleware.HtmxMiddleware",
    "config.refusals.Refusals",
]
