"""Settings of a test run: the product's own, with a home of its own for engines and files."""

import os
import ssl
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
# Set, not defaulted: workers of a parallel run inherit the environment of the process that started them.
_NAME = os.environ.get("PYTEST_XDIST_WORKER") or os.environ.get("TEST_HOME", "main")
os.environ["TUNESMITH_HOME"] = str(_ROOT / ".tunesmith" / "tests" / _NAME)
if "PYTEST_XDIST_WORKER" in os.environ:
    # Workers share the cores: trainings side by side with a thread for every core wait for each other at each step, and
    # so do the tests' own forward passes. A test that wants two threads says so, and they soon sleep (as in the lab).
    os.environ.setdefault("TRAINING_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
os.environ.setdefault("LOG_LEVEL", "WARNING")
# An HTTP client reads all authorities of the world from a file when it is made, a fiftieth of a second that calls to
# this machine do not need. From a folder they are read when somebody has to be checked.
os.environ.pop("SSL_CERT_FILE", None)
os.environ["SSL_CERT_DIR"] = ssl.get_default_verify_paths().openssl_capath

from config.settings import *  # noqa: E402, F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
ACCOUNT_RATE_LIMITS: dict[str, str] = {}
