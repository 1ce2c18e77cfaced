"""What the official `openai` client does with every route it has and we serve: sync, async, streamed, and refused."""

import asyncio
import io
import json
import os
import time

import openai

URL, KEY = os.environ["BASE_URL"], os.environ["KEY"]
WRITER, READER, CLASSIFIER = os.environ["WRITER"], os.environ["READER"], os.environ["CLASSIFIER"]
MODERATOR = os.environ["MODERATOR"]
TALK = [{"role": "user", "content": "Where is my refund?"}]
CSV = b"text,label\n" + b"".join(b"a text of row %d,label %d\n" % (row, row % 3) for row in range(60))
DECIDES = hasattr(openai.OpenAI, "decisions")
QUESTIONS = [{"type": "choice", "instructions": "Which of them?", "name": "intent"}]
CALLS = [
    {
        "custom_id": str(number),
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": WRITER, "messages": TALK, "max_tokens": 3} | ({"temperature": 9} if number == 3 else {}),
    }
    for number in range(4)
]
"""Of a batch; the last is refused."""
STEPS = []


def step(work):
    """A part of the program, in the order they stand."""
    STEPS.append(work)
    return work


def client(key=KEY, **options):
    """A client; it repeats nothing unless told to."""
    return openai.OpenAI(base_url=URL, api_key=key, **{"max_retries": 0, "timeout": 30} | options)


@step
def writes():
    """Chat and completions, whole and streamed."""
    answer = client().chat.completions.create(model=WRITER, messages=TALK, max_tokens=5)
    assert answer.choices[0].message.content == " w0 w1 w2 w3 w4" and answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 5 and answer.usage.total_tokens == answer.usage.prompt_tokens + 5
    stream = client().chat.completions.create(
        model=WRITER, messages=TALK, max_tokens=5, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == " w0 w1 w2 w3 w4"
    assert chunks[-1].usage.completion_tokens == 5
    answer = client().completions.create(model=WRITER, prompt=["Once", "There"], max_tokens=3)
    assert [choice.text for choice in answer.choices] == [" w0 w1 w2"] * 2
    pieces = client().completions.create(model=WRITER, prompt="Once", max_tokens=3, stream=True)
    assert "".join(chunk.choices[0].text for chunk in pieces if chunk.choices) == " w0 w1 w2"


@step
def leaves():
    """A stream that nobody reads to its end can be closed."""
    with client().chat.completions.create(model=WRITER, messages=TALK, max_tokens=2000, stream=True) as stream:
        for number, _ in enumerate(stream):
            if number == 3:
                break


@step
def reads():
    """Embeddings as the client asks for them by itself (base64), and as floats."""
    plain = client().embeddings.create(model=READER, input=["one", "two"])
    assert [one.embedding for one in plain.data] == [[0.5] * 4] * 2 and plain.usage.total_tokens == 6
    floats = client().embeddings.create(model=READER, input="one", encoding_format="float")
    assert floats.data[0].embedding == [0.5] * 4


@step
def judges():
    """Moderations of one text and of several, and decisions, where this version of the client has them."""
    flagged(client().moderations.create(model=MODERATOR, input="a text"), 1)
    flagged(client().moderations.create(model=MODERATOR, input=["one", "two"]), 2)
    if DECIDES:
        decided(client().decisions.create(model=CLASSIFIER, input="a text", questions=QUESTIONS))


@step
def lists():
    """Models, files and jobs: every page, and one of each."""
    names = {model.id for model in client().models.list()}
    assert {WRITER, READER, CLASSIFIER} <= names and client().models.retrieve(CLASSIFIER).id == CLASSIFIER
    file = client().files.create(file=("rows.csv", io.BytesIO(CSV)), purpose="fine-tune")
    assert client().files.retrieve(file.id).bytes == len(CSV)
    assert file.id in {one.id for one in client().files.list(limit=1)}
    assert client().files.content(file.id).read() == CSV
    assert client().files.delete(file.id).deleted
    assert list(client().fine_tuning.jobs.list(limit=1)) == []


@step
def waits_for_a_batch():
    """A file of calls, asked by the worker: its answers, its errors, and its place in the list. Another is given up."""
    one = client()
    batch = one.batches.create(input_file_id=one.files.create(**calls()).id, **ORDER)
    assert batch.id in {found.id for found in one.batches.list(limit=1)}
    while (batch := one.batches.retrieve(batch.id)).status not in OVER:
        time.sleep(0.1)
    assert batch.status == "completed", batch
    answered(batch, one.files.content(batch.output_file_id).text, one.files.content(batch.error_file_id).text)
    other = one.batches.create(input_file_id=one.files.create(**calls()).id, **ORDER)
    assert one.batches.cancel(other.id).status in ("cancelling", "cancelled")


OVER = ("completed", "failed", "expired", "cancelled")
ORDER = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}


def calls():
    """The file of a batch."""
    return {"file": ("calls.jsonl", "\n".join(map(json.dumps, CALLS)).encode()), "purpose": "batch"}


def answered(batch, output, errors):
    """What became of it."""
    assert (batch.request_counts.completed, batch.request_counts.failed, batch.request_counts.total) == (3, 1, 4)
    lines = {line["custom_id"]: line["response"] for line in map(json.loads, output.splitlines())}
    texts = {name: one["body"]["choices"][0]["message"]["content"] for name, one in lines.items()}
    assert texts == dict.fromkeys("012", " w0 w1 w2")
    (wrong,) = map(json.loads, errors.splitlines())
    assert wrong["custom_id"] == "3" and wrong["response"]["status_code"] == 400


def flagged(answer, count):
    """Moderations of so many texts, each of the first category."""
    assert len(answer.results) == count and answer.id.startswith("modr-") and answer.model == MODERATOR
    for result in answer.results:
        categories = result.categories.to_dict()
        assert result.flagged and list(categories.values()) == [True, *[False] * (len(categories) - 1)]
        assert set(result.category_scores.to_dict()) == set(categories)


def decided(decision):
    """A choice for the first label."""
    (answer,) = decision.answers
    assert (answer.type, answer.name) == ("choice", "intent") and abs(answer.confidence - 0.7) < 0.001
    assert answer.choice == max(answer.probabilities, key=lambda one: one.probability).value
    assert decision.usage.input_tokens == decision.usage.total_tokens > 0


def refusal(kind, status, work):
    """The error that the work ends with."""
    try:
        work()
    except openai.APIStatusError as error:
        assert type(error) is kind and error.status_code == status, repr(error)
        assert error.request_id and error.body["message"], error.body
        return error
    raise AssertionError(f"no {kind.__name__}")


@step
def is_refused():
    """Every refusal is the exception that its status has."""

    def chat(one=None, model=WRITER, **more):
        return lambda: (one or client()).chat.completions.create(model=model, messages=TALK, **more)

    refusal(openai.AuthenticationError, 401, chat(client("sk-nobody")))
    refusal(openai.PermissionDeniedError, 403, chat(client(os.environ["KEY_WITHOUT_SCOPE"])))
    refusal(openai.NotFoundError, 404, chat(model="nobody-has-it"))
    refusal(openai.NotFoundError, 404, lambda: client().files.retrieve("file-nobody-has-it"))
    assert refusal(openai.BadRequestError, 400, chat(temperature=9)).param == "temperature"
    refusal(openai.BadRequestError, 400, chat(temperature=9, stream=True))
    refusal(openai.BadRequestError, 400, lambda: client().embeddings.create(model=READER, input=""))
    begun = time.monotonic()
    spent = refusal(openai.APIStatusError, 402, chat(client(os.environ["KEY_WITHOUT_MONEY"], max_retries=5)))
    assert spent.code == "budget_exceeded" and time.monotonic() - begun < 2, "what does not help is not repeated"
    assert spent.response.headers["x-should-retry"] == "false"


@step
def waits():
    """Over the limit: an error that says how long, and by itself as long as it says."""
    limited = client(os.environ["KEY_OF_FEW"])
    for _ in range(100):
        try:
            limited.embeddings.create(model=READER, input="one")
        except openai.RateLimitError as error:
            assert 1 <= int(error.response.headers["retry-after"]) <= 3
            break
    else:
        raise AssertionError("the limit was never reached")
    begun = time.monotonic()
    answer = limited.with_options(max_retries=3).embeddings.with_raw_response.create(model=READER, input="one")
    assert answer.retries_taken >= 1 and time.monotonic() - begun > 0.5
    assert answer.headers["x-ratelimit-remaining-requests"]


@step
def does_all_at_once():
    """The asynchronous client, many calls and streams at a time."""

    async def stream(one):
        pieces = await one.chat.completions.create(model=WRITER, messages=TALK, max_tokens=20, stream=True)
        return sum([1 async for chunk in pieces if chunk.choices and chunk.choices[0].delta.content])

    async def batch(one):
        file = await one.files.create(**calls())
        batch = await one.batches.create(input_file_id=file.id, **ORDER)
        while (batch := await one.batches.retrieve(batch.id)).status not in OVER:
            await asyncio.sleep(0.1)
        assert batch.status == "completed", batch
        assert batch.id in {found.id async for found in one.batches.list()}
        output, errors = [await one.files.content(name) for name in (batch.output_file_id, batch.error_file_id)]
        answered(batch, output.text, errors.text)

    async def main():
        async with openai.AsyncOpenAI(base_url=URL, api_key=KEY, max_retries=0) as one:
            flagged(await one.moderations.create(model=MODERATOR, input=["one", "two"]), 2)
            if DECIDES:
                decided(await one.decisions.create(model=CLASSIFIER, input="a text", questions=QUESTIONS))
            await batch(one)
            streams = asyncio.gather(*(stream(one) for _ in range(8)))
            reads = asyncio.gather(*(one.embeddings.create(model=READER, input=["a"] * 9) for _ in range(8)))
            assert await streams == [20] * 8 and [len(answer.data) for answer in await reads] == [9] * 8
            assert {model.id async for model in one.models.list()} >= {WRITER, READER}
            try:
                await one.chat.completions.create(model="nobody-has-it", messages=TALK)
            except openai.NotFoundError as error:
                assert error.code == "model_not_found"
            else:
                raise AssertionError("no NotFoundError")

    asyncio.run(main())


if __name__ == "__main__":
    for work in STEPS:
        work()
    print(json.dumps({"openai": openai.__version__, "steps": len(STEPS), "decides": DECIDES}))  # noqa: T201 - the test reads it
