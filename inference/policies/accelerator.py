"""Where a policy's network runs: device and dtype, transfers, inference mode, compilation, memory. For all of PyTorch.

Importing this module loads no torch: the web process reads a version's options with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TypeVar

from inference.exceptions import AcceleratorOutOfMemoryError, PolicyConfigurationError, PolicyLoadError
from inference.policies import options as read

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

OPTIONS = ("device", "dtype", "compile")

_DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")
_DTYPES = ("auto", "float32", "bfloat16", "float16")
# What PyTorch and the libraries below it say when memory is short, where they raise no error of its own for it.
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class AcceleratorOptions:
    """``device``: ``auto`` (a GPU where there is one), ``cpu``, ``cuda`` or ``cuda:1``; ``dtype``: ``auto``,
    ``float32``, ``bfloat16`` or ``float16``; ``compile``: whether PyTorch compiles the network before it is ready.
    """

    device: str = "auto"
    dtype: str = "auto"
    compile: bool = False

    @classmethod
    def read(cls, options: Mapping[str, Any]) -> Self:
        """Raises ``PolicyConfigurationError`` naming the option that is wrong."""
        device, dtype = options.get("device", "auto"), options.get("dtype", "auto")
        if not isinstance(device, str) or not _DEVICE.fullmatch(device):
            raise PolicyConfigurationError(
                f"The option 'device' is auto, cpu, cuda or one GPU such as cuda:1, not {device!r}."
            )
        if dtype not in _DTYPES:
            raise PolicyConfigurationError(f"The option 'dtype' is one of {', '.join(_DTYPES)}, not {dtype!r}.")
        return cls(device=device, dtype=dtype, compile=read.flag(options, "compile", default=False))


class Accelerator:
    """The device and dtype that ``options`` come to on this machine. Raises ``PolicyLoadError`` where it lacks them.

    ``auto`` is ``float32``, or half precision on a GPU where ``prefers_half``. A network whose weights stay in
    ``float32`` computes in another dtype by autocast (``mixed``); otherwise the weights themselves are converted.
    """

    def __init__(self, options: AcceleratorOptions, *, prefers_half: bool = False, mixed: bool = True) -> None:
        import torch

        self.device = _device(options.device)
        self.dtype = _dtype(options.dtype, self.device, prefers_half=prefers_half)
        self.compiles = options.compile
        self._mixed = mixed and self.dtype != torch.float32

    @property
    def weights_dtype(self) -> torch.dtype:
        """What the weights are kept in."""
        import torch

        return torch.float32 if self._mixed else self.dtype

    @property
    def warm_up_sizes(self) -> tuple[int, ...]:
        """Batch sizes to try before the first robot: kernels are picked, and compiled, for one and for several."""
        return (1, 2) if self.compiles or self.device.type == "cuda" else (1,)

    def place(
        self, network: torch.nn.Module, *, compiled: Sequence[torch.nn.Module] | None = None, converts: bool = True
    ) -> None:
        """Move ``network`` here, in evaluation mode; it, or only the parts of it that ``compiled`` names, is compiled
        at its first use where that was asked for.

        Weights are converted unless the network chose their dtypes itself. Buffers keep theirs: the
        frequencies of rotary embeddings lose their meaning in half precision.
        """
        network.to(self.device)
        network.eval().requires_grad_(False)
        for parameter in network.parameters():
            if converts and parameter.is_floating_point():
                parameter.data = parameter.data.to(self.weights_dtype)
        if self.compiles:
            for part in [network] if compiled is None else compiled:
                part.compile(dynamic=True)

    def send(self, values: npt.NDArray[np.generic] | torch.Tensor) -> torch.Tensor:
        """``values`` on the device; to a GPU from page-locked memory, so that the copy waits for nobody."""
        import torch

        tensor = values if isinstance(values, torch.Tensor) else torch.from_numpy(values)
        if self.device.type != "cuda" or tensor.device.type == "cuda":
            return tensor.to(self.device)
        return tensor.pin_memory().to(self.device, non_blocking=True)

    def run(self, compute: Callable[[], Result], *, batch: int) -> Result:
        """``compute()`` without gradients. Raises ``AcceleratorOutOfMemoryError`` when ``batch`` did not fit."""
        import torch

        try:
            with (
                torch.inference_mode(),
                torch.autocast(self.device.type, self.dtype) if self._mixed else nullcontext(),
            ):
                return compute()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # Not in the handler: while the error lives its frames hold the tensors of the batch that did not fit, and
        # whoever tries smaller ones needs their room.
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        raise AcceleratorOutOfMemoryError(f"A batch of {batch} does not fit into the memory of {self.device}.")

    def describe(self) -> dict[str, Any]:
        """For ``PolicyInfo.metadata``: where the network runs, and in what."""
        import torch

        described: dict[str, Any] = {
            "device": str(self.device),
            "dtype": str(self.dtype).removeprefix("torch."),
            "compiled": self.compiles,
        }
        if self.device.type == "cuda":
            described["device_name"] = torch.cuda.get_device_name(self.device)
        return described

    def release(self) -> None:
        """Give the memory of networks that are gone back to the device."""
        import torch

        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that memory was short, whichever library below PyTorch said it."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _OUT_OF_MEMORY)


def _device(wanted: str) -> torch.device:
    import torch

    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(wanted)
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise PolicyLoadError("The option 'device' asks for CUDA and this machine has none.")
        if device.index is not None and device.index >= torch.cuda.device_count():
            raise PolicyLoadError(f"The option 'device' asks for {device}; there are {torch.cuda.device_count()} GPUs.")
    return device


def _dtype(wanted: str, device: torch.device, *, prefers_half: bool) -> torch.dtype:
    import torch

    if wanted == "auto":
        if not prefers_half or device.type != "cuda":
            return torch.float32
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    dtype: torch.dtype = getattr(torch, wanted)
    if dtype == torch.float16 and device.type == "cpu":
        raise PolicyLoadError("The option 'dtype' asks for float16, which needs a GPU. A processor takes bfloat16.")
    return dtype
