"""What a program on LangChain does: `ChatOpenAI` and `OpenAIEmbeddings`, whole, streamed, in batches and refused."""

import asyncio
import json
import os
from importlib.metadata import version

import openai
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

URL, KEY = os.environ["BASE_URL"], os.environ["KEY"]
WRITER, READER = os.environ["WRITER"], os.environ["READER"]


def chat(**options):
    """A chat model as LangChain makes it."""
    return ChatOpenAI(base_url=URL, api_key=KEY, **{"model": WRITER, "max_tokens": 5, "max_retries": 0} | options)


def main():
    """All of it."""
    answer = chat().invoke([("system", "Be short."), ("human", "Where is my refund?")])
    assert answer.content == " w0 w1 w2 w3 w4" and answer.usage_metadata["output_tokens"] == 5
    assert answer.response_metadata["finish_reason"] == "length"
    chunks = list(chat(stream_usage=True).stream("Where is my refund?"))
    assert "".join(chunk.content for chunk in chunks) == " w0 w1 w2 w3 w4"
    assert sum((chunk.usage_metadata or {"output_tokens": 0})["output_tokens"] for chunk in chunks) == 5
    assert [one.content for one in chat().batch(["a", "b", "c"])] == [" w0 w1 w2 w3 w4"] * 3
    assert asyncio.run(chat().ainvoke("Where?")).content == " w0 w1 w2 w3 w4"
    # Its own way of cutting long texts needs OpenAI's vocabulary; whoever serves other models turns it off.
    vectors = OpenAIEmbeddings(base_url=URL, api_key=KEY, model=READER, check_embedding_ctx_length=False)
    assert vectors.embed_documents(["one", "two"]) == [[0.5] * 4] * 2 and vectors.embed_query("one") == [0.5] * 4
    try:
        chat(model="nobody-has-it").invoke("Where?")
    except openai.NotFoundError as error:
        assert error.code == "model_not_found"
    else:
        raise AssertionError("no NotFoundError")
    print(json.dumps({"langchain-openai": version("langchain-openai"), "openai": openai.__version__}))  # noqa: T201


if __name__ == "__main__":
    main()
