"""Having a language model say action tokens, and nothing else, for a whole batch at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from inference.policies.vision_language.action_tokens import ActionTokens


@dataclass(frozen=True, slots=True)
class Spoken:
    """``tokens``: ``int64 [batch, count]``; ``confidence``: ``float64 [batch]`` in 0..1, the geometric mean of the
    probabilities that the model gave them among all its words; ``first``: ``float32 [batch, bins]``, the
    log-probabilities of the first one.
    """

    tokens: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float64]
    first: npt.NDArray[np.float32]

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """One batch out of several."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__slots__))


class _OnlyActions(LogitsProcessor):
    """Any other word would be decoded into the end of the range, an action that the model never meant."""

    def __init__(self, tokens: ActionTokens) -> None:
        self._tokens = tokens

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        allowed = torch.full_like(scores, -torch.inf)
        actions = slice(self._tokens.first, self._tokens.vocabulary)
        allowed[:, actions] = scores[:, actions]
        return allowed


def speak(model: Any, inputs: dict[str, torch.Tensor], *, count: int, tokens: ActionTokens) -> Spoken:
    """The ``count`` likeliest action tokens, one after the other, for each row of ``inputs`` (padded on the left)."""
    said = model.generate(
        **inputs,
        # The checkpoint's own habits (sampling, penalties, an end word) are for text.
        generation_config=GenerationConfig(  # type: ignore[no-untyped-call]
            max_new_tokens=count,
            min_new_tokens=count,
            do_sample=False,
            num_beams=1,
            pad_token_id=0,
            return_dict_in_generate=True,
            output_logits=True,
        ),
        use_model_defaults=False,
        logits_processor=LogitsProcessorList([_OnlyActions(tokens)]),
    )
    chosen = said.sequences[:, -count:]
    words = torch.stack([logits.float().log_softmax(dim=-1) for logits in said.logits], dim=1)
    likelihood = words.gather(2, chosen.unsqueeze(2)).squeeze(2)
    return Spoken(
        tokens=chosen.cpu().numpy(),
        confidence=likelihood.double().mean(dim=1).exp().clamp(0, 1).cpu().numpy(),
        first=words[:, 0, tokens.first : tokens.vocabulary].cpu().numpy(),
    )
