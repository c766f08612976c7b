"""Devices, dtypes and memory, as every policy on PyTorch meets them; without a GPU, and with one where there is one."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest
import torch

from inference.engine.batcher import Batcher
from inference.exceptions import AcceleratorOutOfMemoryError, PolicyConfigurationError, PolicyLoadError
from inference.policies.accelerator import Accelerator, AcceleratorOptions
from inference.policies.handler import create_policy
from tests.inference.policies.observations import observation_for

pytestmark = pytest.mark.ml
needs_no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "tpu"}, "'device' is auto, cpu, cuda or one GPU"),
        ({"device": 1}, "'device'"),
        ({"dtype": "int8"}, "'dtype' is one of auto, float32"),
        ({"compile": "maybe"}, "'compile' is true or false"),
    ],
    ids=str,
)
def test_an_option_that_makes_no_sense_is_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PolicyConfigurationError, match=message):
        AcceleratorOptions.read(options)


@needs_no_gpu
@pytest.mark.parametrize(
    ("options", "message"),
    [({"device": "cuda"}, "this machine has none"), ({"device": "cpu", "dtype": "float16"}, "needs a GPU")],
    ids=str,
)
def test_what_the_machine_lacks_is_said_at_load(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PolicyLoadError, match=message):
        Accelerator(AcceleratorOptions.read(options))


@needs_no_gpu
def test_without_a_gpu_auto_is_a_processor_in_single_precision() -> None:
    chosen = Accelerator(AcceleratorOptions(), prefers_half=True)

    assert chosen.describe() == {"device": "cpu", "dtype": "float32", "compiled": False}


def test_half_precision_stays_near_single_precision_and_the_answer_is_single() -> None:
    exact, half = (create_policy("compact", {"device": "cpu", "dtype": dtype}) for dtype in ("float32", "bfloat16"))
    exact.load()
    half.load()
    observations = [observation_for(exact.info, seed=seed) for seed in range(3)]

    for one, other in zip(exact.infer(observations), half.infer(observations), strict=True):
        assert other.actions.dtype == np.float32
        assert not np.array_equal(one.actions, other.actions)
        np.testing.assert_allclose(one.actions[:, :3], other.actions[:, :3], atol=2e-3)  # metres
    assert half.info.metadata["dtype"] == "bfloat16"


def test_weights_are_converted_where_nothing_is_mixed() -> None:
    network = torch.nn.Linear(3, 2)
    chosen = Accelerator(AcceleratorOptions(device="cpu", dtype="bfloat16"), mixed=False)

    chosen.place(network)

    assert network.weight.dtype == torch.bfloat16
    assert not network.training
    assert not network.weight.requires_grad


def test_a_compiled_network_answers_as_the_plain_one_for_any_batch() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.GELU(), torch.nn.Linear(4, 2))
    inputs = [torch.randn(size, 3) for size in (1, 2, 5)]
    plain = [network(batch).detach() for batch in inputs]
    chosen = Accelerator(AcceleratorOptions(device="cpu", compile=True))

    chosen.place(network)

    for batch, expected in zip(inputs, plain, strict=True):
        found = chosen.run(lambda batch=batch: network(batch), batch=len(batch))
        torch.testing.assert_close(found, expected)
        assert found.is_inference()
    assert chosen.warm_up_sizes == (1, 2)


def test_a_batch_that_torch_has_no_memory_for_is_out_of_memory() -> None:
    chosen = Accelerator(AcceleratorOptions(device="cpu"))

    with pytest.raises(AcceleratorOutOfMemoryError, match="A batch of 7 does not fit into the memory of cpu"):
        chosen.run(lambda: torch.empty(1 << 55), batch=7)


def test_another_failure_of_torch_stays_what_it_is() -> None:
    chosen = Accelerator(AcceleratorOptions(device="cpu"))

    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        chosen.run(lambda: torch.ones(2, 3) @ torch.ones(2, 3), batch=1)


def test_the_tensors_of_a_batch_that_did_not_fit_are_gone_when_its_halves_are_tried() -> None:
    chosen = Accelerator(AcceleratorOptions(device="cpu"))
    held: list[weakref.ref[torch.Tensor]] = []
    alive: list[int] = []

    def infer(items: Any) -> list[int]:
        alive.append(sum(reference() is not None for reference in held))

        def compute() -> list[int]:
            activations = torch.zeros(1000)
            held.append(weakref.ref(activations))
            if len(items) > 1:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return [int(activations.sum()) + item for item in items]

        return chosen.run(compute, batch=len(items))

    gc.disable()  # reference counts alone must free them: a GPU does not wait for the collector
    try:
        batcher: Batcher[int, int] = Batcher(infer, max_batch=4, max_waiting=4)
        assert batcher._run_splitting([1, 2, 3, 4]) == [1, 2, 3, 4]
        batcher.close()
    finally:
        gc.enable()
    assert len(alive) == 7
    assert alive == [0] * 7


def test_a_gpu_is_sent_page_locked_memory_without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = Accelerator(AcceleratorOptions(device="cpu"))
    chosen.device = torch.device("cuda")
    calls: list[Any] = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: calls.append("pinned") or self)
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *where, **how: calls.append((*where, how)) or self)

    chosen.send(np.zeros(3, np.float32))

    assert calls == ["pinned", (torch.device("cuda"), {"non_blocking": True})]
