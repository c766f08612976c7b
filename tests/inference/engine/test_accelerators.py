"""GPU figures, from the driver to ``/metrics``. The driver is a stand-in: the tests' machine need not have a GPU."""

from __future__ import annotations

import importlib
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.test import Client

from core.redis import engine_redis
from inference.engine import accelerators, keys, registry
from inference.engine.accelerators import AcceleratorReporter

GIB = 1 << 30


def fake_torch(*, reserved: tuple[int, ...], **changes: Any) -> Any:
    """A torch with one GPU of 80 GiB for each number in ``reserved``, 30 GiB of each free."""
    cuda = {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "device_count": lambda: len(reserved),
        "memory_reserved": lambda index: reserved[index],
        "mem_get_info": lambda index: (30 * GIB, 80 * GIB),
        "get_device_properties": lambda index: SimpleNamespace(name="Test GPU", uuid=f"gpu-{index}"),
        "utilization": lambda index: 75,
    }
    return SimpleNamespace(cuda=SimpleNamespace(**{**cuda, **changes}))


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr("socket.gethostname", lambda: "gpu-box")
    return monkeypatch


def report(worker: str) -> None:
    registry.beat(worker, [])
    AcceleratorReporter(worker).beat()


def shown(client: Client) -> dict[str, float]:
    lines = client.get("/metrics").content.decode().splitlines()
    return {
        name: float(value)
        for name, _, value in (line.rpartition(" ") for line in lines if line[:15] == "vla_accelerator")
    }


def test_memory_and_utilisation_of_the_gpus_in_use_are_shown(client: Client, machine: pytest.MonkeyPatch) -> None:
    machine.setitem(sys.modules, "torch", fake_torch(reserved=(10 * GIB, 0)))

    report("one")

    labels = '{device="gpu-0",host="gpu-box",name="Test GPU"}'
    assert shown(client) == {
        f"vla_accelerator_memory_used_bytes{labels}": 50 * GIB,
        f"vla_accelerator_memory_total_bytes{labels}": 80 * GIB,
        f"vla_accelerator_memory_reserved_bytes{labels}": 10 * GIB,
        f"vla_accelerator_utilisation_ratio{labels}": 0.75,
    }


def test_what_two_workers_hold_of_one_gpu_is_added_up(client: Client, machine: pytest.MonkeyPatch) -> None:
    for worker, held in (("one", 10), ("two", 4)):
        machine.setitem(sys.modules, "torch", fake_torch(reserved=(held * GIB,)))
        report(worker)

    found = shown(client)

    assert len(found) == 4
    assert [value for name, value in found.items() if "reserved" in name] == [14 * GIB]


def test_without_nvidias_library_the_memory_is_shown_alone(client: Client, machine: pytest.MonkeyPatch) -> None:
    def absent(index: int) -> int:
        raise ModuleNotFoundError("pynvml does not seem to be installed or it can't be imported.")

    machine.setitem(sys.modules, "torch", fake_torch(reserved=(GIB,), utilization=absent))

    report("one")

    assert sorted(name.partition("{")[0] for name in shown(client)) == [
        "vla_accelerator_memory_reserved_bytes",
        "vla_accelerator_memory_total_bytes",
        "vla_accelerator_memory_used_bytes",
    ]


@pytest.mark.parametrize(
    "torch",
    [
        None,
        fake_torch(reserved=(), is_available=lambda: False),
        fake_torch(reserved=(GIB,), is_initialized=lambda: False),
    ],
    ids=["no torch", "no GPU", "a GPU that nobody uses"],
)
def test_without_a_gpu_in_use_nothing_is_shown(client: Client, machine: pytest.MonkeyPatch, torch: Any) -> None:
    if torch is None:
        machine.delitem(sys.modules, "torch", raising=False)
    else:
        machine.setitem(sys.modules, "torch", torch)

    report("one")

    assert shown(client) == {}


def test_a_driver_that_fails_does_not_stop_the_heartbeat(machine: pytest.MonkeyPatch) -> None:
    def broken(index: int) -> tuple[int, int]:
        raise RuntimeError("CUDA error: unspecified launch failure")

    machine.setitem(sys.modules, "torch", fake_torch(reserved=(GIB,), mem_get_info=broken))

    AcceleratorReporter("one").beat()

    assert not engine_redis().exists(keys.accelerators("one"))


def test_a_gpu_is_read_every_few_seconds_however_often_the_worker_beats(machine: pytest.MonkeyPatch) -> None:
    reads: list[int] = []
    now = [100.0]
    machine.setattr(accelerators, "readings", lambda: reads.append(1) or [])
    machine.setattr(accelerators.time, "monotonic", lambda: now[0])
    reporter = AcceleratorReporter("one")

    for _ in range(12):
        reporter.beat()
        now[0] += 0.5

    assert len(reads) == 2


def test_a_torch_that_another_thread_is_importing_is_let_alone(machine: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It stands in ``sys.modules`` with half of its names."""
    gate = SimpleNamespace(begun=threading.Event(), may_end=threading.Event())
    machine.setitem(sys.modules, "torch_gate", gate)
    machine.delitem(sys.modules, "torch", raising=False)
    (tmp_path / "torch.py").write_text(
        "import torch_gate\ntorch_gate.begun.set()\ntorch_gate.may_end.wait(30)\ncuda = 1\n"
    )
    machine.syspath_prepend(tmp_path)
    importing = threading.Thread(target=importlib.import_module, args=("torch",))
    importing.start()
    try:
        assert gate.begun.wait(30)
        assert accelerators.readings() == []
    finally:
        gate.may_end.set()
        importing.join(30)
        torch = sys.modules.pop("torch")
    assert torch.cuda == 1
