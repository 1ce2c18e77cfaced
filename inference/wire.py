"""The messages between the engine and its callers, and how they are framed.

A frame is four bytes of length (big endian) and one msgpack map; the map's `type` names the message. Any number of
requests may be in flight on a connection; an answer carries the `id` of its request. The first frame of a connection
is `Hello`, answered by `Welcome` or by `Failed` and a closed connection.

Vectors travel as raw little-endian float32, row after row, because a list of floats would cost more than the model.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from inference.errors import TooLarge

PROTOCOL = 1
MAX_FRAME = 32 * 1024 * 1024
MAX_TEXTS = 2048
MERGED = "+merged"
"""What a report adds to the name of a model for its copy with the adapter merged (`inference.hot`)."""
_LENGTH = struct.Struct(">I")


class Message(msgspec.Struct, tag_field="type", frozen=True, gc=False):
    """Base of all messages."""


class Hello(Message, tag="hello", frozen=True, gc=False):
    """Opens a connection. `token` is the secret both sides were started with."""

    version: int
    token: str


class Welcome(Message, tag="welcome", frozen=True, gc=False):
    """The engine accepts the connection."""

    version: int
    backend: str


class Classify(Message, tag="classify", frozen=True, gc=False):
    """Probabilities of every label of `model` for each text. `weight` is the tenant's share when many compete."""

    id: int
    tenant: str
    model: str
    texts: list[str]
    weight: int = 1


class Embed(Message, tag="embed", frozen=True, gc=False):
    """Unit vectors for each text, from a base (`base` set) or from a tenant's own model (`model` set).

    `dimensions`: the first so many numbers of each, brought to length one; 0 for all.
    """

    id: int
    tenant: str
    texts: list[str]
    model: str = ""
    base: str = ""
    weight: int = 1
    dimensions: int = 0


class Count(Message, tag="count", frozen=True, gc=False):
    """Token counts as the base's tokenizer sees them, special tokens included."""

    id: int
    base: str
    texts: list[str]


class Load(Message, tag="load", frozen=True, gc=False):
    """Bring an artefact into memory. `sha256` vouches for its `artefact.json`, which vouches for the other files.

    The files lie in `folder` on the engine's machine, or else behind `urls`: file name to signed address. `pin`: keep
    it whatever else is loaded (true), no longer (false), or leave that as it is (None).
    """

    id: int
    tenant: str
    model: str
    folder: str
    sha256: str
    urls: dict[str, str] = {}
    pin: bool | None = None


class Unload(Message, tag="unload", frozen=True, gc=False):
    """Forget a model; work already queued for it is finished."""

    id: int
    tenant: str
    model: str


class Describe(Message, tag="describe", frozen=True, gc=False):
    """Facts about a resident model. A version never changes, so callers may keep the answer."""

    id: int
    tenant: str
    model: str


class Parity(Message, tag="parity", frozen=True, gc=False):
    """Compare the serving path with the probabilities recorded at training time."""

    id: int
    tenant: str
    model: str


class Health(Message, tag="health", frozen=True, gc=False):
    """How the engine is doing."""

    id: int


class Cancel(Message, tag="cancel", frozen=True, gc=False):
    """Give up on request `id` of this connection. Has no answer of its own."""

    id: int


class Render(Message, tag="render", frozen=True, gc=False):
    """Turn plain prompts, or one chat, into tokens of a causal model, before anything is reserved or computed.

    `chat` is `{"messages": [...], "tools": [...] | null}` as on the OpenAI wire, contents already plain text; it goes
    through the base's chat template. Name a tenant's own `model` or a `base`.
    """

    id: int
    tenant: str
    model: str = ""
    base: str = ""
    prompts: list[str] = []
    chat: dict[str, Any] | None = None


class Grammar(msgspec.Struct, frozen=True, gc=False):
    """What the output must look like. `text`: a JSON schema, a regular expression, or nothing for `json`."""

    kind: Literal["json", "json_schema", "regex"]
    text: str = ""


class Sampling(msgspec.Struct, frozen=True, gc=False):
    """How tokens are chosen. `logprobs`: how many alternatives to report beside each token, None for none at all."""

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    stop: list[str] = []
    logprobs: int | None = None
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    bias: dict[int, float] = {}
    grammar: Grammar | None = None


class Generate(Message, tag="generate", frozen=True, gc=False):
    """Continue `prompt` (tokens from `render`) `choices` times. `Piece`s follow, then one `Generated`.

    At most `allowed` tokens are made, over all choices, until an `Allow` raises it; rows that have used it up wait for
    one. With `stream` pieces come as there is text, and after eight tokens without; else one per choice at its end.
    """

    id: int
    tenant: str
    prompt: list[int]
    sampling: Sampling
    allowed: int
    model: str = ""
    base: str = ""
    choices: int = 1
    stream: bool = False
    weight: int = 1


class Allow(Message, tag="allow", frozen=True, gc=False):
    """Request `id` may make `tokens` tokens in all. `last`: there will be no more, so end with reason `budget` there.

    Has no answer of its own.
    """

    id: int
    tokens: int
    last: bool = False


class Classified(Message, tag="classified", frozen=True, gc=False):
    """`probabilities` is float32 [texts, width]: shares that add up to one, chances of each label by itself, or the
    quantities of a regression, by the model's task. A text was truncated where `lengths[i] > limit`."""

    id: int
    width: int
    probabilities: bytes
    lengths: list[int]
    limit: int
    compute_us: int


class Embedded(Message, tag="embedded", frozen=True, gc=False):
    """`vectors` is float32 [texts, width], each row of length one."""

    id: int
    width: int
    vectors: bytes
    lengths: list[int]
    limit: int
    compute_us: int


class Counted(Message, tag="counted", frozen=True, gc=False):
    """Token count of each text, and the longest the base reads."""

    id: int
    lengths: list[int]
    limit: int


class Described(Message, tag="described", frozen=True, gc=False):
    """Answer to `load` and `describe`. `cold_ms`: what bringing it in took just now; 0 for what was here."""

    id: int
    model: str
    base: str
    method: str
    labels: list[str]
    max_length: int
    bytes: int
    task: str = "text-classification"
    pinned: bool = False
    cold_ms: int = 0


class Rendered(Message, tag="rendered", frozen=True, gc=False):
    """Tokens of each prompt, and the longest context (prompt and output together) the model reads."""

    id: int
    prompts: list[list[int]]
    limit: int


class TokenChance(msgspec.Struct, frozen=True, gc=False):
    """A token that was chosen, or could have been. `raw` are its bytes, which may be part of a character."""

    token: str
    logprob: float
    raw: bytes


class TokenReport(msgspec.Struct, frozen=True, gc=False):
    """A chosen token and its likeliest alternatives, likeliest first."""

    chosen: TokenChance
    top: list[TokenChance] = []


class Piece(Message, tag="piece", frozen=True, gc=False):
    """More of a choice. `tokens` counts what it adds, even while its text is still held back (an unfinished character
    or the beginning of a stop). `finish` is set on the last piece: stop, length or budget."""

    id: int
    choice: int
    text: str
    tokens: int
    finish: str = ""
    logprobs: list[TokenReport] | None = None


class Generated(Message, tag="generated", frozen=True, gc=False):
    """All choices have ended. `cached_tokens` of the prompt were found in the cache; `output_tokens` is over all."""

    id: int
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    compute_us: int
    queue_us: int


class Done(Message, tag="done", frozen=True, gc=False):
    """Answer to `unload`; `found` is false if the model was not in memory."""

    id: int
    found: bool


class ParityReport(Message, tag="parity_report", frozen=True, gc=False):
    """`worst` and `mean` are absolute differences in probability, or in a token's log-probability where text is
    written; `flips` counts answers that changed for good."""

    id: int
    passed: bool
    n: int
    worst: float
    mean: float
    flips: int
    tolerance: float


class ResidentReport(msgspec.Struct, frozen=True, gc=False):
    """One thing in memory."""

    model: str
    tenant: str
    kind: str
    bytes: int


class WriterReport(msgspec.Struct, frozen=True, gc=False):
    """One base that writes: counts since the start, and how it stands. Times in milliseconds, queue included."""

    base: str
    precision: str
    requests: int
    read_tokens: int
    cached_tokens: int
    written_tokens: int
    cancelled: int
    refused: int
    preempted: int
    running: int
    waiting: int
    blocks: int
    blocks_free: int
    first_token_p50_ms: float
    first_token_p99_ms: float


class TrialReport(msgspec.Struct, frozen=True, gc=False):
    """A backend and precision in the trial that chose between them (`inference.trial`). `rows_per_s` at each of the
    trial's shapes; `difference` is the largest length between its unit vectors and those of plain fp32."""

    backend: str
    precision: str
    rows_per_s: list[float]
    difference: float
    outcome: str


class HealthReport(Message, tag="health_report", frozen=True, gc=False):
    """Counters since the start; latencies in milliseconds over the last requests, queue included."""

    id: int
    uptime_s: float
    backend: str
    precision: str
    bases: list[str]
    requests: int
    rows: int
    tokens: int
    padded_tokens: int
    batches: int
    refused: int
    cancelled: int
    queued_rows: int
    queued_tenants: int
    expected_wait_s: float
    resident_bytes: int
    resident_budget: int
    evictions: int
    residents: list[ResidentReport]
    latency_p50_ms: float
    latency_p95_ms: float
    latency_p99_ms: float
    writers: list[WriterReport] = []
    trial: list[TrialReport] = []


class Failed(Message, tag="failed", frozen=True, gc=False):
    """The request `id` failed; `retry_after` in seconds, None if trying again cannot help."""

    id: int
    code: str
    message: str
    retry_after: float | None = None


Request = (
    Hello | Classify | Embed | Count | Render | Generate | Allow | Load | Unload | Describe | Parity | Health | Cancel
)
Answer = (
    Welcome | Classified | Embedded | Counted | Rendered | Piece | Generated | Described | Done | ParityReport
    | HealthReport | Failed
)  # fmt: skip

_encoder = msgspec.msgpack.Encoder()
_requests: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_answers: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)


def pack(message: Message) -> bytes:
    """One frame, ready to be written. Raises `TooLarge` over `MAX_FRAME`."""
    body = _encoder.encode(message)
    if len(body) > MAX_FRAME:
        raise TooLarge(f"A message of {len(body)} bytes is over the limit of {MAX_FRAME} bytes; send fewer texts.")
    return _LENGTH.pack(len(body)) + body


def read_request(body: bytes) -> Request:
    """Decode a frame's body on the engine's side. Raises `msgspec.MsgspecError` on anything unknown."""
    return _requests.decode(body)


def read_answer(body: bytes) -> Answer:
    """Decode a frame's body on the caller's side. Raises `msgspec.MsgspecError` on anything unknown."""
    return _answers.decode(body)


class Frames:
    """Cuts a stream of bytes into frame bodies."""

    def __init__(self, limit: int = MAX_FRAME) -> None:
        self.limit = limit
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield every complete body. Raises `TooLarge` as soon as a length over the limit is announced."""
        buffer = self._buffer
        buffer += data
        start, end = 0, len(buffer)
        try:
            while end - start >= 4:
                (length,) = _LENGTH.unpack_from(buffer, start)
                if length > self.limit:
                    raise TooLarge(f"A frame of {length} bytes was announced; the limit is {self.limit} bytes.")
                if end - start - 4 < length:
                    return
                body = bytes(memoryview(buffer)[start + 4 : start + 4 + length])
                start += 4 + length
                yield body
        finally:
            del buffer[:start]
