"""Ray Serve with batches of at most 32 that wait 5 ms, one replica: `python ray_app.py PORT`."""

import signal
import sys

import ray
from classifier import Classifier
from ray import serve


@serve.deployment(num_replicas=1, max_ongoing_requests=256, ray_actor_options={"num_cpus": 1})
class Classify:
    def __init__(self):
        self.classifier = Classifier()

    @serve.batch(max_batch_size=32, batch_wait_timeout_s=0.005)
    async def rows(self, texts):
        return self.classifier.rows(texts)

    async def __call__(self, request):
        if request.method != "POST":
            return {}
        return await self.rows((await request.json())["input"])


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, logging_level="error")
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(Classify.bind(), route_prefix="/")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.pause()
