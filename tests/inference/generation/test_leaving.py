"""An engine that leaves finishes the texts it writes, and takes no new ones."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import pytest

from inference.client import EngineClient
from inference.errors import Draining, Unavailable
from inference.fleet import Fleet, Want
from inference.wire import Sampling
from tests.inference.conftest import TOKEN, running
from tests.training.lab.causal_bases import CHATML, tiny_llama

pytestmark = pytest.mark.slow  # starts a real process with torch and transformers


def test_a_text_in_the_making_is_finished_and_a_new_one_is_sent_elsewhere(tmp_path: Path) -> None:
    base = tiny_llama(tmp_path / "base", template=CHATML)
    catalogue = tmp_path / "bases.json"
    catalogue.write_text(json.dumps({"bases": {"tiny": {"folder": str(base), "max_length": 256}}}))
    with running(
        "--precision", "fp32", "--catalogue", str(catalogue), "--cache-mib", "4", "--drain-seconds", "90"
    ) as engine:

        async def work() -> None:
            client = EngineClient(engine.address, TOKEN)
            prompt = (await client.render(tenant="t", base="tiny", prompts=["once"])).prompts[0]
            sampling = Sampling(max_tokens=200, temperature=0)
            text = await client.generate(
                tenant="t",
                base="tiny",
                prompt=prompt,
                sampling=sampling,
                allowed=5,
                stream=True,
            )
            await anext(text)  # it has begun, and waits to be allowed more
            engine.process.send_signal(signal.SIGTERM)
            with pytest.raises(Draining):
                while True:
                    await client.count(base="all-MiniLM-L6-v2", texts=["hello"])
                    await asyncio.sleep(0.01)
            fleet = Fleet(engine.address, TOKEN)
            with pytest.raises(Unavailable):  # nobody new gets in
                await fleet.ask(Want("tiny"), lambda one: one.health())
            await fleet.close()
            text.allow(200)
            async for _ in text:
                pass
            assert text.result is not None and text.result.output_tokens > 5
            async with asyncio.timeout(2):
                while client.connected:  # whose last answer came closes
                    await asyncio.sleep(0.01)

        asyncio.run(work())
        assert engine.process.wait(30) == 0
