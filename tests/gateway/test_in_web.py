"""The gateway in front of Django, in one process, as a fresh clone runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request

import pytest
from django.conf import settings

from tests.conftest import Cast
from tests.gateway.conftest import ROOT, GatewayProcess, free_port, until_answers
from tests.inference.artefacts import BASE

pytestmark = pytest.mark.slow  # starts real processes


def test_hot_paths_and_pages_are_served_by_one_process(gateway: GatewayProcess, cast: Cast) -> None:
    port = free_port()
    environment = os.environ | {
        "PYTHONPATH": f"{ROOT}:{ROOT / 'platform'}",
        "TUNESMITH_HOME": str(settings.HOME),
        "GATEWAY_IN_WEB": "true",
    }
    command = [sys.executable, "-m", "uvicorn", "config.asgi:application", "--port", str(port)]
    web = subprocess.Popen([*command, "--log-level", "warning"], env=environment, cwd=ROOT)
    try:
        here = GatewayProcess(f"http://127.0.0.1:{port}", web)
        until_answers(f"{here.url}/healthz", web)
        body = json.dumps({"model": BASE.name, "input": "hello"}).encode()
        status, headers, answer = here.post("/v1/embeddings", body, cast.owner.key)
        assert status == 200, answer
        assert headers["x-ratelimit-limit-requests"]
        request = urllib.request.Request(here.url + "/v1/models", headers={"authorization": f"Bearer {cast.owner.key}"})
        with urllib.request.urlopen(request, timeout=10) as models:
            assert BASE.name in [model["id"] for model in json.load(models)["data"]]
    finally:
        web.send_signal(signal.SIGTERM)
        assert web.wait(30) in (0, -signal.SIGTERM)
