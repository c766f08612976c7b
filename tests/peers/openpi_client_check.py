"""Drives ``/ws/policy/{slug}`` with the published openpi-client; run by a Python that has it, not by the project's.

openpi-client needs numpy below 2, so it lives in an environment of its own::

    python -m venv var/peers/openpi
    var/peers/openpi/bin/pip install openpi-client typing_extensions
    var/peers/openpi/bin/python tests/peers/openpi_client_check.py ws://127.0.0.1:8000/ws/policy/demo KEY

Prints what it saw; any difference from the protocol is an error.
"""

from __future__ import annotations

import sys

import numpy as np
from openpi_client.action_chunk_broker import ActionChunkBroker
from openpi_client.websocket_client_policy import WebsocketClientPolicy


def main(url: str, key: str) -> None:
    client = WebsocketClientPolicy(host=url, port=None, api_key=key)
    metadata = client.get_server_metadata()
    picture = np.zeros((224, 224, 3), np.uint8)
    observation = {
        **{f"observation/{camera}": picture for camera in metadata["cameras"]},
        "observation/state": np.zeros(metadata["state_size"], np.float32),
        "prompt": "pick up the red cube",
    }
    shape = (metadata["action_horizon"], metadata["action_dim"])

    answer = client.infer(observation)
    assert answer["actions"].shape == shape, answer["actions"].shape
    assert answer["actions"].dtype == np.float32, answer["actions"].dtype

    refusal = ""
    try:
        client.infer({**observation, "prompt": 7})
    except RuntimeError as error:
        refusal = str(error)
    assert "/instruction" in refusal, refusal or "a bad observation was answered"
    again = client.infer(observation)
    assert isinstance(again["server_timing"]["prev_total_ms"], float)

    broker = ActionChunkBroker(client, action_horizon=shape[0])
    steps = [broker.infer(observation)["actions"] for _ in range(2 * shape[0])]
    assert {step.shape for step in steps} == {shape[1:]}
    policy = metadata["policy_version"]
    sys.stdout.write(f"openpi-client got chunks of {shape} from {policy}; {len(steps)} steps through its broker\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
