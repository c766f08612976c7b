"""Teach the compact policy by behaviour cloning.

    python -m inference.policies.compact.train --data var/demonstrations --out policy.safetensors

Prints the loss on demonstrations that it did not learn from, and the SHA-256 of what it wrote.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from inference.policies.compact.checkpoint import Normalisation, read_checkpoint, write_checkpoint
from inference.policies.compact.dataset import Demonstrations
from inference.policies.compact.network import CompactConfig, CompactNetwork, hash_instruction


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """``learning_rate`` is the peak of one cosine cycle; ``camera_dropout`` how often a camera is blacked out;
    ``compile`` has PyTorch compile the network first, which takes half a minute and then saves more than half the time.
    """

    epochs: int = 30
    batch_size: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    camera_dropout: float = 0.02
    seed: int = 0
    compile: bool = False


class Batches:
    """Demonstrations as tensors, in random order, slightly altered so that the network learns no pixel by heart."""

    def __init__(
        self, data: Demonstrations, config: CompactConfig, normalisation: Normalisation, options: TrainingOptions
    ) -> None:
        self._options = options
        self._generator = torch.Generator().manual_seed(options.seed)
        self._frame_of = torch.from_numpy(data.frame_of)
        self._pictures = {camera: torch.from_numpy(data.images[camera]) for camera in config.cameras}
        self._states = torch.from_numpy((data.states - normalisation.state_mean) / normalisation.state_std)
        self._actions = torch.from_numpy((data.actions - normalisation.action_mean) / normalisation.action_std)
        known = sorted(set(data.instructions))
        self._texts = torch.from_numpy(np.stack([hash_instruction(text, config.text_buckets) for text in known]))
        self._text_of = torch.tensor([known.index(text) for text in data.instructions])

    def shuffled(self, examples: Tensor) -> Iterator[tuple[dict[str, Tensor], Tensor, Tensor, Tensor]]:
        """Batches of pictures, states, texts and actions, in a new order each time."""
        order = examples[torch.randperm(len(examples), generator=self._generator)]
        size = min(self._options.batch_size, len(order))
        # An incomplete batch at the end is left out: it would be compiled anew, and the next order differs anyway.
        for chosen in torch.split(order[: len(order) - len(order) % size], size):
            pictures, state, text, actions = self.take(chosen)
            yield {camera: self._alter(picture) for camera, picture in pictures.items()}, state, text, actions

    def take(self, examples: Tensor) -> tuple[dict[str, Tensor], Tensor, Tensor, Tensor]:
        """The examples of these numbers, unaltered."""
        frames = self._frame_of[examples]
        pictures = {camera: batch[frames] for camera, batch in self._pictures.items()}
        return pictures, self._states[frames], self._texts[self._text_of[examples]], self._actions[examples]

    def _alter(self, pictures: Tensor) -> Tensor:
        per_picture = (len(pictures), 1, 1, 1)
        gain = 1 + 0.1 * (2 * torch.rand(per_picture, generator=self._generator) - 1)
        offset = 12 * (2 * torch.rand(per_picture, generator=self._generator) - 1)
        visible = torch.rand(per_picture, generator=self._generator) >= self._options.camera_dropout
        return ((pictures * gain + offset) * visible).clamp_(0, 255)


def train(
    data: Demonstrations,
    network: CompactNetwork,
    normalisation: Normalisation,
    options: TrainingOptions,
    *,
    report: Callable[[int, float, float], None] = lambda _epoch, _loss, _held_out: None,
) -> None:
    """Fit ``network`` to ``data``; ``report`` gets the epoch and both losses, in squared standard deviations."""
    torch.manual_seed(options.seed)
    batches = Batches(data, network.config, normalisation, options)
    learnt, held_out = split_by_frame(data.frame_of, seed=options.seed)
    optimiser = torch.optim.AdamW(network.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay)
    steps = options.epochs * (len(learnt) // min(options.batch_size, len(learnt)))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=options.learning_rate, total_steps=steps)
    forward = torch.compile(network, dynamic=False) if options.compile else network
    for epoch in range(options.epochs):
        network.train()
        losses = []
        for pictures, state, text, actions in batches.shuffled(learnt):
            loss = functional.smooth_l1_loss(forward(pictures, state, text), actions)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
        report(epoch, float(np.mean(losses)), evaluate(network, batches, held_out))
    network.eval()


@torch.inference_mode()
def evaluate(network: CompactNetwork, batches: Batches, examples: Tensor) -> float:
    """The mean loss over ``examples``."""
    network.eval()
    total = 0.0
    for chosen in torch.split(examples, 256):
        pictures, state, text, actions = batches.take(chosen)
        total += functional.smooth_l1_loss(network(pictures, state, text), actions).item() * len(chosen)
    return total / len(examples)


def split_by_frame(frame_of: npt.NDArray[np.int64], *, seed: int, share: float = 0.05) -> tuple[Tensor, Tensor]:
    """Numbers of the examples to learn from and to hold out; examples of one frame stay together."""
    frames = np.random.default_rng(seed).permutation(int(frame_of.max()) + 1)
    is_held_out = np.isin(frame_of, frames[: max(1, int(len(frames) * share))])
    return torch.from_numpy(np.flatnonzero(~is_held_out)), torch.from_numpy(np.flatnonzero(is_held_out))


def main(arguments: Sequence[str] | None = None) -> None:
    defaults = TrainingOptions()
    parser = argparse.ArgumentParser(description="Teach the compact policy by behaviour cloning.")
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders of recorded .npz files")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="a checkpoint to go on from, with its normalisation")
    parser.add_argument("--action-names", default="dx,dy,dz,gripper")
    parser.add_argument("--epochs", type=int, default=defaults.epochs)
    parser.add_argument("--learning-rate", type=float, default=defaults.learning_rate)
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compile", action="store_true")
    arguments_given = parser.parse_args(arguments)
    torch.set_num_threads(arguments_given.threads)
    data = Demonstrations.load([path for folder in arguments_given.data for path in sorted(folder.glob("*.npz"))])
    print(f"{len(data)} examples of {len(data.states)} frames", flush=True)  # noqa: T201
    if arguments_given.start:
        network, normalisation = read_checkpoint(arguments_given.start)
    else:
        normalisation = Normalisation.of(data.states, data.actions)
        network = CompactNetwork(_config_for(data, tuple(arguments_given.action_names.split(","))))
    options = TrainingOptions(
        epochs=arguments_given.epochs,
        learning_rate=arguments_given.learning_rate,
        seed=arguments_given.seed,
        compile=arguments_given.compile,
    )
    train(data, network, normalisation, options, report=_print_losses)
    print(f"sha256 {write_checkpoint(arguments_given.out, network, normalisation)}", flush=True)  # noqa: T201


def _config_for(data: Demonstrations, action_names: tuple[str, ...]) -> CompactConfig:
    _, height, width, _ = next(iter(data.images.values())).shape
    return CompactConfig(
        cameras=tuple(data.images),
        image_size=(height, width),
        state_size=data.states.shape[1],
        action_names=action_names,
        horizon=data.actions.shape[1],
    )


def _print_losses(epoch: int, loss: float, held_out: float) -> None:
    print(f"epoch {epoch}: {loss:.4f} learnt, {held_out:.4f} held out", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
