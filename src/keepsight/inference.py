"""How a question becomes an Output: the model is asked to generate, or to rank the choices it is given."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from keepsight.types import VLM, KeepsightError, Output, RanksChoices, Sample

__all__ = ["Generate", "RankChoices"]


@dataclass(frozen=True)
class Generate:
    """Asks the model to write an answer. Greedy unless `temperature` is above 0.

    With sampling every sample has a random stream of its own, made from `seed` and the sample's id, so that a resumed
    run equals a fresh one.
    """

    max_new_tokens: int = 32  # an answer is cut here
    temperature: float = 0.0  # 0 is greedy
    top_p: float = 1.0  # share of the probability mass that is sampled from
    seed: int = 0  # of the samples' random streams; unused when greedy

    def __post_init__(self) -> None:
        if not isinstance(self.max_new_tokens, int) or not isinstance(self.seed, int):
            raise KeepsightError(
                f"max_new_tokens is {self.max_new_tokens!r} and seed {self.seed!r}; give whole numbers"
            )
        if not all(isinstance(value, (int, float)) for value in (self.temperature, self.top_p)):
            raise KeepsightError(
                f"temperature is {self.temperature!r} and top_p {self.top_p!r}; give numbers"
            )
        if self.max_new_tokens < 1:
            raise KeepsightError(f"max_new_tokens is {self.max_new_tokens}; give at least 1")
        if not 0 <= self.temperature < math.inf:
            raise KeepsightError(f"temperature is {self.temperature}; give 0 (greedy) or more")
        if not 0 < self.top_p <= 1:
            raise KeepsightError(f"top_p is {self.top_p}; give a number above 0 and at most 1")

    @property
    def settings(self) -> Mapping[str, Any]:
        """Enters a run's identity. What greedy decoding does not look at is left out: it changes no answer."""
        if self.temperature == 0:
            return {"kind": "generate", "max_new_tokens": self.max_new_tokens, "temperature": 0.0}
        return {"kind": "generate", **asdict(self)}

    def __call__(
        self, model: VLM, samples: Sequence[Sample], *, batch_size: int | None = None
    ) -> Iterator[tuple[int, Output]]:
        """Yields `(index, Output)` as answers become ready."""
        return model.generate(
            samples,
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            seed=self.seed,
            batch_size=batch_size,
        )


@dataclass(frozen=True)
class RankChoices:
    """Asks for log p(choice | prompt, pictures) of every choice; the answer's text is the likeliest choice.

    With reduction "sum" the choice's tokens are added up; "mean" divides by their number, which favours long labels
    less against short ones. Of equally likely choices the first wins.
    """

    reduction: str = "sum"

    def __post_init__(self) -> None:
        if self.reduction not in ("sum", "mean"):
            raise KeepsightError(f"reduction is {self.reduction!r}; give sum or mean")

    @property
    def settings(self) -> Mapping[str, Any]:
        """Enters a run's identity."""
        return {"kind": "rank_choices", "reduction": self.reduction}

    def __call__(
        self, model: VLM, samples: Sequence[Sample], *, batch_size: int | None = None
    ) -> Iterator[tuple[int, Output]]:
        """Yields `(index, Output)`; a sample that cannot be ranked has its `error` set.

        Raises:
            KeepsightError: the model cannot rank choices.
        """
        if not isinstance(model, RanksChoices):
            raise KeepsightError(f"model {model.name} cannot rank choices; ask it to generate instead")
        askable = [index for index, sample in enumerate(samples) if sample.choices]
        for index, sample in enumerate(samples):
            if not sample.choices:
                yield index, Output(text="", error=f"sample {sample.id} has no choices to rank")
        asked = [samples[index] for index in askable]
        for at, logprobs in model.choice_logprobs(asked, reduction=self.reduction, batch_size=batch_size):
            if any(math.isnan(logprob) for logprob in logprobs):
                reason = "the model gave no log-probabilities (unreadable picture or prompt, or nan logits)"
                yield askable[at], Output(text="", error=reason)
                continue
            best = max(range(len(logprobs)), key=logprobs.__getitem__)
            yield askable[at], Output(text=asked[at].choices[best], choice_logprobs=logprobs)
