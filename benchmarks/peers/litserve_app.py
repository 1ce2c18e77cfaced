"""LitServe with batches of at most 32 that wait 5 ms: `python litserve_app.py PORT`."""

import sys

import litserve
from classifier import Classifier


class Classify(litserve.LitAPI):
    def setup(self, device):
        self.classifier = Classifier()

    def decode_request(self, request):
        return request["input"]

    def predict(self, texts):
        return self.classifier.rows(list(texts))

    def encode_response(self, output):
        return output


if __name__ == "__main__":
    api = Classify(max_batch_size=32, batch_timeout=0.005)
    litserve.LitServer(api, accelerator="cpu", workers_per_device=1).run(
        host="127.0.0.1", port=int(sys.argv[1]), log_level="error", generate_client_file=False
    )
