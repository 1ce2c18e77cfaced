"""Django settings: one file, grouped by subject, read through the typed readers of `config.env`.

A fresh clone runs without a single variable set. Production sets those of `.env.example`.
"""

import hashlib
from pathlib import Path
from typing import Any

from config import embedded, env
from config.accounts import *  # noqa: F403
from config.log_lines import log_lines
from config.rooms import *  # noqa: F403
from config.staff_look import UNFOLD as UNFOLD

ROOT = Path(__file__).resolve().parents[2]
VERSION = "0.1.0"

# ── What runs, and where ─────────────────────────────────────────────────────
DEBUG = env.boolean("DEBUG", True)
HOME = Path(env.text("TUNESMITH_HOME", str(ROOT / ".tunesmith")) or ROOT / ".tunesmith").resolve()
"""Everything a running Tunesmith writes, unless a setting points elsewhere."""
_SITE: dict[str, Any] = {"form": "https://host or http://host:port", "schemes": ("https", "http"), "bare": True}
BASE_URL = env.url("BASE_URL", **_SITE, default="http://localhost:8000").rstrip("/")
ALLOWED_HOSTS = env.words("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]" if DEBUG else "")
CSRF_TRUSTED_ORIGINS = env.words("CSRF_TRUSTED_ORIGINS")

_DEVELOPMENT_SECRET = "development only; production refuses to start with it"
SECRET_KEY = env.secret("SECRET_KEY", _DEVELOPMENT_SECRET if DEBUG else "")
SECRET_KEY_FALLBACKS = [key for key in [env.secret("SECRET_KEY_FALLBACK")] if key]
if not DEBUG and (len(SECRET_KEY) < 50 or len(set(SECRET_KEY)) < 5):
    raise env.SettingError("SECRET_KEY must be set to at least 50 random characters when DEBUG is off.")
if not ALLOWED_HOSTS or any("/" in host for host in ALLOWED_HOSTS):
    raise env.SettingError("ALLOWED_HOSTS must list host names without a scheme, separated by commas: example.com.")
if any("://" not in origin for origin in CSRF_TRUSTED_ORIGINS):
    raise env.SettingError("CSRF_TRUSTED_ORIGINS must list origins with their scheme: https://example.com.")
API_KEY_PEPPER = hashlib.sha256(b"api keys" + env.secret("API_KEY_PEPPER", SECRET_KEY).encode()).digest()

# ── Django; `config.rooms` has what it is made of ────────────────────────────
ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [ROOT / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "config.context.site",
            ],
        },
    }
]

# ── PostgreSQL: one database, three roles ────────────────────────────────────
_POSTGRES: dict[str, Any] = {"form": "postgresql://user:password@host/database", "schemes": ("postgresql", "postgres")}
_URLS = {
    "default": env.url("DATABASE_URL", **_POSTGRES),
    "ops": env.url("OPS_DATABASE_URL", **_POSTGRES),
    "owner": env.url("OWNER_DATABASE_URL", **_POSTGRES),
}
EMBEDDED_POSTGRES = not any(_URLS.values())
if EMBEDDED_POSTGRES:
    _URLS = {alias: embedded.database_url(HOME, alias) for alias in _URLS}
elif not all(_URLS.values()):
    raise env.SettingError("Set DATABASE_URL, OPS_DATABASE_URL and OWNER_DATABASE_URL together, or none of them.")
DATABASES = {alias: embedded.django_database(url) for alias, url in _URLS.items()}
# Who waits for a row longer than this is told that the database is away, and tries again. Migrations ask for whole
# tables: everybody who comes after waits behind them, so they give up sooner. 0 leaves it to the server, as behind a
# pooler that takes no options.
_LOCK_SECONDS = env.integer("DATABASE_LOCK_SECONDS", 10, high=3600)
_LOCKS = {"default": _LOCK_SECONDS, "ops": _LOCK_SECONDS, "owner": min(_LOCK_SECONDS, 2)}
for _alias, _database in DATABASES.items():
    # A server that accepts and says nothing, or a network that swallows everything, holds nobody for ever.
    _patience = {"connect_timeout": "10", "tcp_user_timeout": "20000"}
    if _LOCKS[_alias]:
        _patience["options"] = f"-c lock_timeout={_LOCKS[_alias]}s"
    _database["OPTIONS"] = _patience | _database["OPTIONS"]
    _database["CONN_MAX_AGE"] = env.integer("DATABASE_CONN_MAX_AGE", 60, high=86_400)
    _database["CONN_HEALTH_CHECKS"] = True
    _database["DISABLE_SERVER_SIDE_CURSORS"] = True
# Of `kit.statements`: a pooler that gives each transaction another session must know prepared statements.
DATABASE_PREPARES = env.boolean("DATABASE_PREPARES", True)
DATABASE_ROUTERS = ["config.routers.OwnerMigrates"]

WEB_THREADS = env.integer("WEB_THREADS", 8, low=1, high=256)
"""Pages and API calls that one web process works on at a time; each thread keeps a connection to PostgreSQL."""

# ── Redis and Celery ─────────────────────────────────────────────────────────
_REDIS: dict[str, Any] = {"form": "redis://host:port/number", "schemes": ("redis", "rediss", "unix")}
REDIS_URL = env.url("REDIS_URL", **_REDIS)
EMBEDDED_REDIS = not REDIS_URL
REDIS_URL = REDIS_URL or embedded.redis_url(HOME)
BROKER_URL = env.url("BROKER_URL", **_REDIS) or embedded.with_redis_db(REDIS_URL, 1)
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": env.url("CACHE_URL", **_REDIS) or embedded.with_redis_db(REDIS_URL, 2),
    }
}
QUEUES = ("default", "ingest", "batch", "train")
"""Each is served by workers of its own."""
CELERY: dict[str, Any] = {
    "broker_url": embedded.celery_url(BROKER_URL),
    "task_ignore_result": True,
    "task_serializer": "json",
    "accept_content": ["json"],
    "task_default_queue": "default",
    "task_acks_late": False,
    "worker_prefetch_multiplier": 1,
    "worker_disable_prefetch": True,
    "worker_max_tasks_per_child": 200,
    "worker_hijack_root_logger": False,
    "broker_connection_retry_on_startup": True,
    # A worker asks for a second at a time; whoever rings does not wait for a broker that hangs.
    "broker_transport_options": {
        "socket_timeout": 3,
        "socket_connect_timeout": 2,
        "max_retries": 0,  # of a ring; a worker's own connection comes back by itself
        "socket_keepalive": True,
        "visibility_timeout": 3600,
    },
    "beat_schedule_filename": str(HOME / "beat"),
    "timezone": "UTC",
}

# ── Object storage ───────────────────────────────────────────────────────────
STORAGE_BUCKET = env.text("STORAGE_BUCKET")
STORAGE_ENDPOINT = env.url("STORAGE_ENDPOINT", **_SITE)
_STORE = {
    "endpoint_url": STORAGE_ENDPOINT or None,
    "access_key": env.secret("STORAGE_ACCESS_KEY") or None,
    "secret_key": env.secret("STORAGE_SECRET_KEY") or None,
}
if bool(_STORE["access_key"]) != bool(_STORE["secret_key"]):
    raise env.SettingError("Set STORAGE_ACCESS_KEY and STORAGE_SECRET_KEY together, or neither.")
if STORAGE_BUCKET:
    _OBJECTS: dict[str, Any] = {
        "BACKEND": "storages.backends.s3.S3Storage",
        "OPTIONS": {
            "bucket_name": STORAGE_BUCKET,
            **_STORE,
            "file_overwrite": False,
            "querystring_expire": 300,
            "signature_version": "s3v4",
        },
    }
else:
    _OBJECTS = {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": str(HOME / "objects"), "base_url": None},
    }
STATIC_URL = "/static/"
STATIC_ROOT = Path(env.text("STATIC_ROOT", str(HOME / "static")))
STATICFILES_DIRS = [ROOT / "static"]
STORAGES = {
    "default": _OBJECTS,
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}
WHITENOISE_USE_FINDERS = DEBUG
WHITENOISE_AUTOREFRESH = DEBUG
FILE_UPLOAD_MAX_MEMORY_SIZE = 1 << 20
DATA_UPLOAD_MAX_MEMORY_SIZE = 1 << 20
"""As much as `config.edge` lets through to a path that takes no file."""
FILE_UPLOAD_TEMP_DIR = None

# ── The machine: engine, trainers, bases ─────────────────────────────────────
ENGINE_ADDRESS = env.url("ENGINE_ADDRESS", "tcp://host:port or unix:///path", schemes=("tcp", "unix"))
ENGINE_ADDRESS = ENGINE_ADDRESS or embedded.engine_address(HOME)
ENGINE_TOKEN = env.secret("ENGINE_TOKEN", SECRET_KEY[:32] if DEBUG else "")
if ENGINE_ADDRESS.startswith("tcp://") and not ENGINE_TOKEN:
    raise env.SettingError("ENGINE_TOKEN must be set where ENGINE_ADDRESS is tcp://: an open port takes any caller.")
ENGINES = env.integer("ENGINES", 1, low=1, high=16)
"""How many engines `manage.py up` starts. Everywhere else an engine is a process or container of its own."""
DEDICATED_REPLICAS = env.integer("DEDICATED_REPLICAS", 0, high=10_000)
"""Engines that may be promised to single deployments, all organisations together; 0 offers none."""
DEDICATED_REPLICAS_PER_TENANT = env.integer("DEDICATED_REPLICAS_PER_TENANT", 4, low=1, high=10_000)
"""So many of them at most for one organisation."""
WARM_REPLICAS = env.integer("WARM_REPLICAS", 0, high=100)
"""Engines that wait with their bases in memory to become somebody's own."""
BASES_FILE = env.file("BASES_FILE")
"""Optional JSON catalogue of further bases that the operator imported."""
WORK_DIR = Path(env.text("WORK_DIR", str(HOME / "work")))
"""Scratch space of trainers."""
SANDBOX = env.choice("SANDBOX", "auto", ("auto", "required", "off"))
"""Whether bubblewrap confines what reads customers' data: where it works; always, or nothing runs; never."""
TRAINING_SLOTS = env.integer("TRAINING_SLOTS", 1, low=1, high=64)
"""Trainers side by side on one host; equal to the concurrency of its `train` worker."""
TRAINING_HOST = env.text("TRAINING_HOST")
"""This host, as places and leases know it; empty takes the machine's own name."""
TRAINING_THREADS = env.integer("TRAINING_THREADS", 0, high=1024)
"""CPU threads of one trainer; 0 takes every physical core."""
TRAINING_DEVICE = env.choice("TRAINING_DEVICE", "auto", ("auto", "cpu", "cuda"))
TRAINING_GPU_CLASS = env.choice("TRAINING_GPU_CLASS", "auto", ("auto", "cpu", "shared", "dedicated"))
"""Which plans' jobs this host takes: those of its class and higher. `auto` is `shared` with a GPU, else `cpu`, which
takes every plan's."""
TRAINING_MEMORY_MB = env.integer("TRAINING_MEMORY_MB", 0, high=16_000_000)
"""Memory of one trainer and all it starts, for each of its places; 0 is the host's, shared by its places."""
TRAINING_DISK_MB = env.integer("TRAINING_DISK_MB", 20_000, low=1, high=16_000_000)
"""What the scratch folder of one attempt may hold."""
TRAINING_PROCESSES = env.integer("TRAINING_PROCESSES", 512, low=8, high=100_000)
"""Processes of one trainer."""
TRAINING_LEASE_SECONDS = env.integer("TRAINING_LEASE_SECONDS", 60, low=2, high=3600)
TRAINING_LEASE_GRACE_SECONDS = env.integer("TRAINING_LEASE_GRACE_SECONDS", 15, high=3600)
TRAINING_HEARTBEAT_SECONDS = env.integer("TRAINING_HEARTBEAT_SECONDS", 10, low=1, high=600)
if TRAINING_HEARTBEAT_SECONDS * 2 > TRAINING_LEASE_SECONDS:
    raise env.SettingError("TRAINING_HEARTBEAT_SECONDS may be half of TRAINING_LEASE_SECONDS at most: one may be lost.")
TRAINING_RETRY_SECONDS = env.integer("TRAINING_RETRY_SECONDS", 10, high=3600)
TRAINING_RESTART_BRAKE_SECONDS = env.integer("TRAINING_RESTART_BRAKE_SECONDS", 120, high=86_400)
"""How long after a start of the database no lease is taken away."""
TRAINING_CHECKPOINT_SECONDS = env.integer("TRAINING_CHECKPOINT_SECONDS", 120, high=86_400)
USAGE_WAL_DIR = Path(env.text("USAGE_WAL_DIR", str(HOME / "usage")))
REQUEST_LOG_DAYS = env.integer("REQUEST_LOG_DAYS", 30, low=1, high=400)
"""How long the request log is kept."""
GATEWAY_URL = env.url("GATEWAY_URL", **_SITE, default=BASE_URL).rstrip("/")
"""Where workers of batches reach the hot /v1 paths."""
BATCH_CONCURRENCY = env.integer("BATCH_CONCURRENCY", 8, low=1, high=256)
"""Lines of one batch that a worker asks at the same time."""
OTEL_EXPORTER_OTLP_ENDPOINT = env.text("OTEL_EXPORTER_OTLP_ENDPOINT", "")
"""Who collects the traces of gateway and engine, over HTTP; empty: nobody, at no cost."""
GATEWAY_IN_WEB = env.boolean("GATEWAY_IN_WEB", True)
"""Serve the hot /v1 paths in the web process too; off when the gateway runs as its own process."""

# ── Money ────────────────────────────────────────────────────────────────────
STRIPE_EMULATOR_PORT = env.integer("STRIPE_EMULATOR_PORT", 8002, low=1, high=65_535)
STRIPE_SECRET_KEY = env.secret("STRIPE_SECRET_KEY")
if STRIPE_SECRET_KEY and not STRIPE_SECRET_KEY.startswith(("sk_", "rk_")):
    raise env.SettingError("STRIPE_SECRET_KEY must be a secret or restricted key of Stripe: sk_… or rk_….")
EMBEDDED_STRIPE = DEBUG and not STRIPE_SECRET_KEY
_EMULATOR = f"http://127.0.0.1:{STRIPE_EMULATOR_PORT}" if EMBEDDED_STRIPE else ""
STRIPE_API_BASE = env.url("STRIPE_API_BASE", **_SITE, default=_EMULATOR)
STRIPE_WEBHOOK_SECRET = env.secret("STRIPE_WEBHOOK_SECRET")
STRIPE_THIN_SECRET = env.secret("STRIPE_THIN_SECRET")
"""What thin events are signed with: their destination has a secret of its own."""
CURRENCIES = env.words("CURRENCIES")
"""What organisations can be made in, of the currencies with a price book; empty: all of them."""
USAGE_SINK = env.choice("USAGE_SINK", "invoice_items", ("invoice_items", "meter_events"))
"""How usage reaches an invoice of Stripe's: as lines when a month has closed, or by a meter, hour by hour."""
STRIPE_API_VERSION = "2026-10-28.endive"
"""What we say to Stripe and hear from it: requests name it, the webhook endpoint is made with it (`stripe_sync
--webhook`), and nothing starts with a client of another one (`billing.checks`)."""
if EMBEDDED_STRIPE:
    STRIPE_SECRET_KEY = "sk_test_emulator"
    STRIPE_WEBHOOK_SECRET = STRIPE_WEBHOOK_SECRET or "whsec_local_emulator"

# ── Webhooks out ─────────────────────────────────────────────────────────────
HOOKS_ALLOW_LOCAL = DEBUG and env.boolean("HOOKS_ALLOW_LOCAL", True)
"""Whether endpoints may be http://localhost, on any port; never where DEBUG is off."""

# ── People ───────────────────────────────────────────────────────────────────
# `config.accounts` has what is the same in every installation.
ACCOUNT_DEFAULT_HTTP_PROTOCOL = "http" if DEBUG else "https"
ALLAUTH_TRUSTED_PROXY_COUNT = env.integer("TRUSTED_PROXY_COUNT", 0, high=5)
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = DEBUG

# ── Mail ─────────────────────────────────────────────────────────────────────
MAIL_URL = env.url("MAIL_URL", "smtp://user:password@host:port or smtps://…", schemes=("smtp", "smtps"))
DEFAULT_FROM_EMAIL = env.text("MAIL_FROM", "Tunesmith <hello@localhost>")
if "@" not in DEFAULT_FROM_EMAIL:
    raise env.SettingError("MAIL_FROM must hold an address: Tunesmith <hello@example.com>.")
SERVER_EMAIL = DEFAULT_FROM_EMAIL
MAIL_DIR = HOME / "mail"
if MAIL_URL:
    EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    globals().update(embedded.mail_settings(MAIL_URL))
    EMAIL_TIMEOUT = 20
else:
    EMAIL_BACKEND = "kit.mail.DevelopmentBackend"

# ── Alerts ───────────────────────────────────────────────────────────────────
# Who hears of an alert by e-mail; the staff dashboard shows it to everybody.
ALERT_MAIL = env.words("ALERT_MAIL")
# Who of us hears of custom-model orders; the address that mail is from, where none is named.
ORDERS_MAIL = env.words("ORDERS_MAIL")
ALERT_QUEUE_MINUTES = env.integer("ALERT_QUEUE_MINUTES", 60, low=1, high=100_000)
ALERT_LOST_LEASES = env.integer("ALERT_LOST_LEASES", 2, high=100_000)
ALERT_FAULT_PERCENT = env.integer("ALERT_FAULT_PERCENT", 20, high=100)

# ── Support ──────────────────────────────────────────────────────────────────
# Who hears by e-mail when a customer writes; the staff console shows it to everybody.
SUPPORT_MAIL = env.words("SUPPORT_MAIL")

# ── API ──────────────────────────────────────────────────────────────────────
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["kit.api.StrictJSONParser"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "kit.api.JsonWhatever",
    "DEFAULT_SCHEMA_CLASS": "config.schema.Reference",
    "EXCEPTION_HANDLER": "kit.api.exception_handler",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Tunesmith API",
    "DESCRIPTION": "Turn your own data into your own models, and call them. Works with the official openai client.\n\n"
    "An organisation has one currency, and every amount is in it. Names of fields, columns and headers that hold an "
    "amount end in it: `x_cost_usd` here is `x_cost_eur` for an organisation in euros, in what it reads and what it "
    "sends.",
    "VERSION": VERSION,
    "SCHEMA_PATH_PREFIX": "/v1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVERS": [{"url": BASE_URL}],
    "PREPROCESSING_HOOKS": ["config.schema.only_public_api"],
    "POSTPROCESSING_HOOKS": ["config.schema.add_gateway_paths", "config.schema.one_usage_path"],
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "APPEND_COMPONENTS": {"securitySchemes": {"apiKey": {"type": "http", "scheme": "bearer"}}},
    "SECURITY": [{"apiKey": []}],
}

# ── Languages and time ───────────────────────────────────────────────────────
LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("zh-hans", "简体中文")]
LOCALE_PATHS = [ROOT / "templates" / "locale"]
USE_I18N = True
USE_TZ = True
TIME_ZONE = "UTC"

# ── Security ─────────────────────────────────────────────────────────────────
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_SAMESITE = "Lax"
CSRF_FAILURE_VIEW = "config.refusals.cross_site"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not DEBUG
SECURE_SSL_REDIRECT = env.boolean("SECURE_SSL_REDIRECT", not DEBUG)
SECURE_REDIRECT_EXEMPT = [r"^v1/", r"^healthz$", r"^readyz$", r"^metrics$"]
SECURE_HSTS_SECONDS = 0 if DEBUG else 31_536_000
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = not DEBUG
if env.boolean("BEHIND_TLS_PROXY", False):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; manifest-src 'self'"
)
STAFF_PATH = "/staff/"
STAFF_CONTENT_SECURITY_POLICY = CONTENT_SECURITY_POLICY.replace(
    "script-src 'self'; style-src 'self'", "script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'"
)
"""The admin theme needs eval and inline styles (see docs/decisions); staff only, on its own path."""

# ── Watching ─────────────────────────────────────────────────────────────────
METRICS_TOKEN = env.secret("METRICS_TOKEN")
METRICS_PORT = env.integer("METRICS_PORT", 0, high=65_535)
"""Where a worker or beat answers scrapes; 0 for nowhere. Only for a private network: it asks for no token."""
LOG_FORMAT = env.choice("LOG_FORMAT", "text" if DEBUG else "json", ("text", "json"))
LOG_LEVEL = env.choice("LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR"))
LOGGING = log_lines(LOG_FORMAT, LOG_LEVEL, quiet=DEBUG)
