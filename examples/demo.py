"""The whole main job through the public doors: sign up, subscribe, upload, train, deploy, call, meter, bill.

Run by `make demo`; by hand: `python examples/demo.py http://localhost:8000 [FILE.csv]` against a running development
server.
Pages are clicked as a user would; the API is called with the official `openai` client, Stripe with `stripe`.
"""

import argparse
import itertools
import os
import re
import secrets
import sys
import time
import urllib.error
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import stripe
from browser import Browser, BrowserError

DATA = Path(__file__).with_name("support_intents.csv")
PASSWORD = "forge-your-own-model"
CARD = {"number": "4242424242424242", "expiry": "12/34", "cvc": "123", "name": "Ada"}
BASE = "all-MiniLM-L6-v2"
QUESTIONS = (
    "my parcel says delivered but there is nothing here",
    "I was charged twice this month, please fix it",
    "please cancel my subscription before it renews",
)
WAIT_SECONDS = 1800  # a training on two slow cores takes minutes; anything else seconds


class Demo:
    """The journey's state: who we are and what we have made so far."""

    def __init__(self, base_url: str, data: Path = DATA) -> None:
        self.base_url, self.data = base_url, data
        self.browser = Browser(base_url)
        self.email = f"ada-{secrets.token_hex(3)}@example.com"
        self.org = self.project = self.key = self.file = self.job = self.model = ""
        self.client: openai.OpenAI

    # ── the steps, in order; each returns the line that is printed ───────────

    def sign_up(self) -> str:
        """Sign-up form, confirmation mail, organisation."""
        self.browser.open("/account/signup/")
        self.browser.submit("password1", email=self.email, password1=PASSWORD)
        self.browser.open(self.mailed_link(r"/account/confirm-email/[^\s\"<]+"))
        self.browser.submit("", action="confirm-email")
        if "/account/login" in self.browser.url:
            self.browser.submit("password", login=self.email, password=PASSWORD)
        if "/o/new" not in self.browser.url:
            self.browser.open("/o/new")
        self.browser.submit("name", action="/o/new", name="Ada's Workshop")
        match = re.search(r"/o/([\w-]+)/p/([\w-]+)", self.browser.url)
        if match is None:
            raise BrowserError(f"no project after sign-up: {self.browser.url}")
        self.org, self.project = match[1], match[2]
        return f"{self.email}, organisation {self.org}"

    def subscribe(self) -> str:
        """Plan page, hosted checkout with a test card, and back."""
        self.browser.open(f"/o/{self.org}/billing")
        self.browser.submit("plan", action="checkout", plan="developer")
        if not self.browser.url.startswith(self.base_url):
            pass  # the checkout page itself
        else:
            self.browser.follow("checkout")
        self.browser.submit("cvc", email=self.email, **CARD)
        for _ in self.patience("the webhook to arrive"):
            if "Developer" in self.browser.open(f"/o/{self.org}/billing"):
                break
        subscriptions = self.stripe().v1.subscriptions.list({"limit": 1}).data
        return f"plan Developer; Stripe says {subscriptions[0].id} is {subscriptions[0].status}"

    def make_key(self) -> str:
        """An API key, shown once."""
        self.browser.open(f"/o/{self.org}/p/{self.project}/keys/new")
        text = self.browser.submit("name", action="/keys/new", name="demo")
        match = re.search(r"ts_live_\w{12}_\w{32}_\w{6}", text)
        if match is None:
            raise BrowserError(f"no key on the page: {text[:500]}")
        self.key = match[0]
        self.client = openai.OpenAI(base_url=f"{self.base_url}/v1", api_key=self.key)
        return f"{self.key[:20]}…{self.key[-4:]}"

    def upload(self) -> str:
        """The file, as the official client sends it."""
        created = self.client.files.create(file=self.data, purpose="fine-tune")
        self.file = created.id
        done = self.client.files.wait_for_processing(created.id, poll_interval=0.5, max_wait_seconds=WAIT_SECONDS)
        return f"{done.id}, {done.bytes:,} bytes, {done.status}"

    def findings(self) -> str:
        """What is wrong with the data, with row numbers."""
        page = self.get(f"/files/{self.file}/findings")
        lines = [
            f"{item['level']:8} {item['code']}: {item['count']} rows, first {item.get('rows', [])[:3]}"
            for item in page["data"]
        ]
        return f"{len(lines)} kinds of problem\n" + "\n".join(lines)

    def estimate(self) -> str:
        """Price and time before the run."""
        answer = self.post("/fine_tuning/jobs/estimate", self.job_request())
        price, seconds = answer["price_usd"], answer["seconds"]
        return (
            f"{answer['tokens']:,} tokens, ${price['low']:.4f} to ${price['high']:.4f}, never more than "
            f"${price['ceiling']:.4f}; {seconds['low']:.0f} to {seconds['high']:.0f} s"
        )

    def train(self) -> str:
        """Create the job and follow its events to the end."""
        body = self.job_request()
        job = self.client.fine_tuning.jobs.create(
            model=body.pop("model"), training_file=body.pop("training_file"), suffix=body.pop("suffix"), extra_body=body
        )
        self.job, shown = job.id, set[str]()
        for _ in self.patience("the training"):
            for event in reversed(list(self.client.fine_tuning.jobs.list_events(self.job, limit=50).data)):
                if event.id not in shown and event.type != "metrics":
                    shown.add(event.id)
                    say(f"{event.message}")
            job = self.client.fine_tuning.jobs.retrieve(self.job)
            if job.status in {"succeeded", "failed", "cancelled"}:
                break
        if job.status != "succeeded":
            raise BrowserError(f"the job {job.status}: {job.error}")
        self.model = str(job.fine_tuned_model)
        return f"{self.model} after {(job.finished_at or 0) - job.created_at} s, {job.trained_tokens or 0:,} tokens"

    def report(self) -> str:
        """The honest numbers, beside the cheap baseline."""
        report = self.get(f"/fine_tuning/jobs/{self.job}/report")
        lines = [
            f"{name:22} accuracy {interval(part['accuracy'])}  macro-F1 {interval(part['macro_f1'])}"
            for name, part in (("your model", report["test"]), (report["baseline"]["name"], report["baseline"]))
        ]
        lines.append(f"calibration error {report['test']['ece']['value']:.3f} on {report['n']['test']} test rows")
        return (
            "gate passed\n" + "\n".join(lines) if report["gate"]["passed"] else "gate NOT passed\n" + "\n".join(lines)
        )

    def deploy(self) -> str:
        """Serverless, on the base everybody shares."""
        deployment = self.post("/deployments", {"model": self.model})
        for _ in self.patience("the deployment"):
            deployment = self.get(f"/deployments/{deployment['id']}")
            if deployment["state"] != "loading":
                break
        if deployment["state"] != "live":
            raise BrowserError(f"the deployment is {deployment['state']}: {deployment.get('reason')}")
        return f"{deployment['id']} is live"

    def decide(self) -> str:
        """`client.decisions`: a choice question answered by the trained head."""
        lines = []
        for text in QUESTIONS:
            answer = self.client.decisions.create(
                model=self.model,
                input=text,
                questions=[{"type": "choice", "instructions": "Which intent?"}],  # type: ignore[list-item]
            ).answers[0]
            lines.append(f"{answer.choice:22} {answer.confidence:.2f}  {text}")  # type: ignore[union-attr]
        return "client.decisions\n" + "\n".join(lines)

    def classify(self) -> str:
        """`/v1/classify`, a list at once."""
        answer = self.post("/classify", {"model": self.model, "input": list(QUESTIONS), "top_k": 2})
        return f"{len(answer['data'])} texts in one call, {answer['usage']['total_tokens']} tokens"

    def embed(self) -> str:
        """`client.embeddings` of the shared base."""
        vectors = self.client.embeddings.create(model=BASE, input=list(QUESTIONS)).data
        return f"{len(vectors)} vectors of {len(vectors[0].embedding)} numbers"

    def usage(self) -> str:
        """What was metered, within seconds."""
        started = time.monotonic()
        for _ in self.patience("the meter"):
            query = f"start_time={int(time.time()) - 86_400}&bucket_width=1d"
            page = self.get(f"/organization/usage/decisions?{query}")
            calls = sum(row["num_model_requests"] for bucket in page["data"] for row in bucket["results"])
            if calls >= len(QUESTIONS):
                break
        return f"{calls} decisions metered, seen {time.monotonic() - started:.1f} s after the last call"

    def invoice(self) -> str:
        """The bill so far, as the console shows it."""
        text = self.browser.open(f"/o/{self.org}/billing")
        amounts = re.findall(r"\$[\d,.]+", text)
        costs = self.get(f"/organization/costs?start_time={int(time.time()) - 86_400}")
        spent = sum(row["amount"]["value"] for bucket in costs["data"] for row in bucket["results"])
        return f"usage so far ${spent:.6f}; the billing page shows {', '.join(amounts[:4])}"

    # ── help ─────────────────────────────────────────────────────────────────

    def job_request(self) -> dict[str, Any]:
        """The same body for the estimate and the job."""
        return {
            "model": BASE,
            "training_file": self.file,
            "suffix": "support",
            "x_task": "text-classification",
            "x_method": "full",
            "x_max_price_usd": 2.0,
        }

    def mailed_link(self, pattern: str) -> str:
        """The newest link of a kind from the development mailbox."""
        for _ in self.patience("the mail"):
            self.browser.open("/dev/mail")
            letters = [href for _, href in self.browser.page.links if "/dev/mail/" in href]
            for letter in letters[:3]:
                text = self.browser.open(letter)
                found = re.search(pattern, text)
                if found and self.email in text:
                    return found[0]
        raise BrowserError("no mail")

    def stripe(self) -> stripe.StripeClient:
        """The official client, against the local Stripe this server talks to."""
        port = os.environ.get("STRIPE_EMULATOR_PORT", "8002")
        return stripe.StripeClient("sk_test_emulator", base_addresses={"api": f"http://127.0.0.1:{port}"})

    def get(self, path: str) -> Any:
        """GET a route of ours that the official client does not know."""
        return self.client.get(path, cast_to=object)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """POST to one."""
        return self.client.post(path, body=body, cast_to=object)

    def patience(self, what: str) -> Iterator[int]:
        """Look again every half second; BrowserError after ten minutes."""
        deadline = time.monotonic() + WAIT_SECONDS
        for attempt in itertools.count():
            yield attempt
            if time.monotonic() > deadline:
                raise BrowserError(f"waited {WAIT_SECONDS} s for {what}")
            time.sleep(0.5)


def interval(figure: dict[str, float]) -> str:
    """`0.912 (0.88–0.94)`."""
    return f"{figure['value']:.3f} ({figure['low']:.2f}–{figure['high']:.2f})"


def say(text: str) -> None:
    """A line under the current step."""
    for line in text.splitlines():
        print(f"      {line}", flush=True)


def main() -> int:
    """Run every step; 0 when all worked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base_url", nargs="?", default="http://localhost:8000")
    parser.add_argument("data", nargs="?", type=Path, default=DATA, help="a CSV file with text and label")
    options = parser.parse_args()
    demo = Demo(options.base_url.rstrip("/"), options.data)
    steps: list[tuple[str, Callable[[], str]]] = [
        ("Sign up", demo.sign_up),
        ("Subscribe with a test card", demo.subscribe),
        ("Make an API key", demo.make_key),
        (f"Upload {demo.data.name}", demo.upload),
        ("Findings", demo.findings),
        ("Estimate", demo.estimate),
        ("Train", demo.train),
        ("Report", demo.report),
        ("Deploy", demo.deploy),
        ("Decide", demo.decide),
        ("Classify", demo.classify),
        ("Embed", demo.embed),
        ("Usage", demo.usage),
        ("Invoice preview", demo.invoice),
    ]
    started = time.monotonic()
    for number, (title, step) in enumerate(steps, 1):
        begun = time.monotonic()
        print(f"[{number:2}/{len(steps)}] {title} …", flush=True)
        try:
            say(step())
        except (BrowserError, openai.OpenAIError, stripe.StripeError, urllib.error.URLError, KeyError) as error:
            print(f"      FAILED: {type(error).__name__}: {error}", flush=True)
            return 1
        print(f"      done in {time.monotonic() - begun:.1f} s", flush=True)
    print(f"\nThe whole main job took {time.monotonic() - started:.0f} s.")
    print(f"  Console  {demo.base_url}/o/{demo.org}/   sign in as {demo.email} / {PASSWORD}")
    print(f"  Key      export TUNESMITH_API_KEY={demo.key}")
    print(f"  Model    {demo.model}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
