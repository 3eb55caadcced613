"""How a question becomes an Output: the model is asked to generate, or to rank the choices it is given."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from io import BytesIO
from typing import Any, Literal

from keepsight.types import VLM, KeepsightError, Media, Output, RanksChoices, Sample

__all__ = ["Generate", "Guidance", "RankChoices", "guided"]


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


Context = Literal["no_image", "blank_image", "mean"]


@dataclass(frozen=True)
class Guidance:
    """Classifier-free guidance of a ranking: t log p(choice | picture, prompt) + (1 - t) log p(choice | context).

    Source: Zhang et al., "Why are Visually-Grounded Language Models Bad at Image Classification?" (arXiv:2405.18415),
    section 3.1. The paper writes probabilities; its code, like this, takes their logarithms. `t` = 1 is no guidance,
    0 ignores the picture. Choose `t` on other samples than those a figure rests on.

    The context is the prompt without its pictures (`no_image`, the paper's formula), the prompt with grey pictures
    (`blank_image`), or what the choices get on average over other pictures (`mean`, the paper's code, which averages over
    the test pictures themselves): then `mean` holds `(choice, log-probability)` pairs.
    """

    t: float
    context: Context = "no_image"
    mean: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        if not math.isfinite(self.t):
            raise KeepsightError(f"t is {self.t}; give a finite number (1 is no guidance)")
        if self.context not in ("no_image", "blank_image", "mean"):
            raise KeepsightError(f"context is {self.context!r}; give no_image, blank_image or mean")
        if (self.context == "mean") != bool(self.mean):
            raise KeepsightError(
                'guidance against the mean needs the choices\' means, and no other context takes them; give context="mean" '
                "and mean=((choice, log-probability), ...)"
            )

    def unasked(self, sample: Sample) -> Sample:
        """The sample with nothing to see: what the context's log-probabilities are asked with."""
        if self.context == "blank_image":
            return replace(sample, media=(_grey_picture(),) * len(sample.media))
        return replace(sample, media=(), prompt=sample.prompt.replace(_MARK, "").strip())


_MARK = "<image>"  # where a picture stands in a prompt


@cache
def _grey_picture() -> Media:
    """The same for every sample, so that one question serves all samples that share their choices."""
    from PIL import Image

    buffer = BytesIO()
    Image.new("RGB", (336, 336), (127, 127, 127)).save(buffer, "PNG")
    return Media(data=buffer.getvalue())


@dataclass(frozen=True)
class RankChoices:
    """Asks for log p(choice | prompt, pictures) of every choice; the answer's text is the likeliest choice.

    With reduction "sum" the choice's tokens are added up; "mean" divides by their number, which favours long labels
    less against short ones. Of equally likely choices the first wins. With `guidance` an Output's `choice_logprobs` are
    the guided values, which are no log-probabilities any more.
    """

    reduction: str = "sum"
    guidance: Guidance | None = None

    def __post_init__(self) -> None:
        if self.reduction not in ("sum", "mean"):
            raise KeepsightError(f"reduction is {self.reduction!r}; give sum or mean")

    @property
    def settings(self) -> Mapping[str, Any]:
        """Enters a run's identity."""
        plain = {"kind": "rank_choices", "reduction": self.reduction}
        return plain if self.guidance is None else {**plain, "guidance": asdict(self.guidance)}

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
        contexts = _Contexts(model, self)
        for at, logprobs in model.choice_logprobs(asked, reduction=self.reduction, batch_size=batch_size):
            yield askable[at], _best(asked[at], contexts.guided(asked[at], logprobs))


class _Contexts:
    """What choices are worth without the picture, asked once per prompt and choices."""

    def __init__(self, model: RanksChoices, inference: RankChoices) -> None:
        self._model = model
        self._inference = inference
        self._known: dict[tuple[str, tuple[str, ...], tuple[str, ...], int], tuple[float, ...]] = {}

    def guided(self, sample: Sample, logprobs: tuple[float, ...]) -> tuple[float, ...]:
        guidance = self._inference.guidance
        if guidance is None:
            return logprobs
        return guided(logprobs, self._without_picture(guidance, sample), guidance.t)

    def _without_picture(self, guidance: Guidance, sample: Sample) -> tuple[float, ...]:
        if guidance.context == "mean":
            means = dict(guidance.mean)
            if missing := [choice for choice in sample.choices if choice not in means]:
                raise KeepsightError(
                    f"sample {sample.id}: no mean log-probability of {missing[0]!r} is given"
                )
            return tuple(means[choice] for choice in sample.choices)
        key = sample.prompt, sample.history, sample.choices, len(sample.media)
        if key not in self._known:
            asked = self._model.choice_logprobs(
                [guidance.unasked(sample)], reduction=self._inference.reduction
            )
            ((_, self._known[key]),) = asked
        return self._known[key]


def guided(conditional: Sequence[float], context: Sequence[float], t: float) -> tuple[float, ...]:
    """`Guidance`'s formula, one value per choice."""
    return tuple(t * one + (1 - t) * other for one, other in zip(conditional, context, strict=True))


def _best(sample: Sample, values: tuple[float, ...]) -> Output:
    if any(math.isnan(value) for value in values):
        reason = "the model gave no log-probabilities (unreadable picture or prompt, or nan logits)"
        return Output(text="", error=reason)
    best = max(range(len(values)), key=values.__getitem__)
    return Output(text=sample.choices[best], choice_logprobs=values)
