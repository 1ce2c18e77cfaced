"""The model that LitServe and Ray Serve serve: a Hugging Face folder, a tokenizer call and a forward a batch.

PEER_FOLDER and PEER_PRECISION (fp32, as shipped; bf16, tuned) come from the environment.
"""

import os

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer


class Classifier:
    def __init__(self):
        folder = os.environ["PEER_FOLDER"]
        kind = torch.bfloat16 if os.environ["PEER_PRECISION"] == "bf16" else torch.float32
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=kind).eval()
        self.labels = [self.model.config.id2label[i] for i in range(self.model.config.num_labels)]

    def rows(self, texts):
        """One answer for each text: every label with its probability, likeliest first."""
        encoded = self.tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors="pt")
        with torch.inference_mode():
            shares = self.model(**encoded).logits.float().softmax(-1)
        answers = []
        for row in shares.tolist():
            ranked = sorted(zip(self.labels, row, strict=True), key=lambda pair: -pair[1])
            answers.append({"data": [{"label": label, "probability": value} for label, value in ranked]})
        return answers
