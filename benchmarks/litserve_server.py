"""The same work behind LitServe with dynamic batching, for comparison; run in an environment of its own.

It takes the same JSON bodies, decodes the same views and sleeps the same milliseconds for a batch; it has no API keys,
rate limits, safety or record.

    python benchmarks/litserve_server.py PORT BASE_MS PER_SAMPLE_MS BATCH_TIMEOUT_SECONDS
"""

import base64
import io
import sys
import time

import litserve as ls
import numpy as np
from PIL import Image

HORIZON, DIMENSIONS, MAX_BATCH = 8, 7, 64


class Accelerator(ls.LitAPI):
    def __init__(self, base_ms: float, per_sample_ms: float, **options: object) -> None:
        super().__init__(**options)
        self.base_ms = base_ms
        self.per_sample_ms = per_sample_ms

    def setup(self, device: str) -> None:
        pass

    def decode_request(self, request: dict) -> dict:
        views = {
            camera: np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))
            for camera, data in request["images"].items()
        }
        return {"images": views, "state": np.asarray(request["state"], np.float32)}

    def batch(self, inputs: list[dict]) -> list[dict]:
        return inputs

    def predict(self, inputs: list[dict]) -> list[np.ndarray]:
        time.sleep((self.base_ms + self.per_sample_ms * len(inputs)) / 1000)
        return [np.full((HORIZON, DIMENSIONS), float(one["state"].sum()), np.float32) for one in inputs]

    def unbatch(self, output: list[np.ndarray]) -> list[np.ndarray]:
        return output

    def encode_response(self, output: np.ndarray) -> dict:
        return {"actions": output.tolist()}


if __name__ == "__main__":
    port, base_ms, per_sample_ms, batch_timeout = sys.argv[1:]
    api = Accelerator(
        float(base_ms), float(per_sample_ms), max_batch_size=MAX_BATCH, batch_timeout=float(batch_timeout)
    )
    server = ls.LitServer(api, accelerator="cpu", timeout=30, fast_queue=True)
    server.run(port=int(port), host="127.0.0.1", generate_client_file=False, log_level="warning")
