"""Open and closed world: a vision-language model asked what a picture shows, without and with the label set.

Source: "Why are Visually-Grounded Language Models Bad at Image Classification?", section 2.3 and appendices B.1 and B.2.

What differs from the paper:
1. Success is read by whole words, the longest label first; the paper's inclusion (`inclusion`) and two rules that an
   echo of the label list does not satisfy (`one_label`, `strict`) score the same outputs beside it.
2. Candidates and random orders come from a stream of each sample's own, so that every model and a resumed run get the
   same ones; the published code draws them while it asks, and a resumed run goes on with others.
3. Of a chain of thought the conclusion is read. The paper looks for the label anywhere in the reasoning.
4. Labels that stand twice (ImageNet has 998 names for 1000 classes) are one label.
5. Any set of labelled pictures can be asked, not only ImageNet, Flowers102, StanfordCars and Caltech101.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Literal

from keepsight.data.class_texts import CLASSIFICATION_PROMPT
from keepsight.data.labelled import LabelledPicture, PictureSet, choose, label_text
from keepsight.inference import Generate
from keepsight.scoring.inclusion import Concluding, Inclusion, OneLabel, Strict, WholeWord
from keepsight.scoring.metrics import accuracy, multiple_labels_share, refused_share, unparsed_share
from keepsight.tasks.picture_sets import picture_set, require_choice, sample_id
from keepsight.types import KeepsightError, Sample, Scorer, Task, digest_of

__all__ = ["CHAIN_OF_THOUGHT", "CHOOSE", "PROMPTS", "candidates_of", "closed_world", "open_world"]

VERSION = "1"
# Appendix B.1, word for word: the base prompt and alternatives 1 and 2.
PROMPTS = {
    "base": CLASSIFICATION_PROMPT,
    "identify": "Identify the object in this image.",
    "depicted": "What is the main object depicted in this photograph?",
}
# As the published code writes it. The paper's example has no quotes (section 2.3): "<image> What type of object is in
# this photo? Choose one from <class name A>, <class name B>, ..."
CHOOSE = 'Choose one from "{labels}".'
# Section 3.1: at the end of the prompt. The published code lets the answer begin with it instead.
CHAIN_OF_THOUGHT = "Let's think step by step."
# The published code's limits.
MAX_NEW_TOKENS = 64
MAX_NEW_TOKENS_OF_THOUGHT = 512

Order = Literal["dataset", "random"]


def open_world(
    pictures: str | Path | PictureSet,
    *,
    prompt: str = "base",
    chain_of_thought: bool = False,
    max_new_tokens: int | None = None,
    path: str | Path | None = None,
    classes: str | Path | None = None,
    image_root: str | Path | None = None,
    split: str = "test",
    share: float | None = None,
    n: int | None = None,
    seed: int = 0,
    remote_images: bool = False,
) -> Task:
    """What is it? The labels are not told.

    Args:
        prompt: a name of `PROMPTS`, or any text.
        chain_of_thought: asks for reasoning; its conclusion is read.
        max_new_tokens: where an answer is cut (default: 64, or 512 with `chain_of_thought`).
        pictures, path, classes, image_root, remote_images: see `picture_sets.picture_set`.
        split, share, n, seed: which pictures are asked; see `data.labelled.choose`.

    Raises:
        KeepsightError: an unknown set, or pictures that cannot be read.
    """
    chosen = picture_set(pictures, path, classes=classes, image_root=image_root, remote_images=remote_images)
    asked = _Asked(_wording(prompt), chain_of_thought, seed=seed)
    name = _name("open", chosen.name, split, prompt, chain_of_thought)
    return _task(name, chosen, asked, _Part(split, n, share, seed), max_new_tokens)


def closed_world(
    pictures: str | Path | PictureSet,
    *,
    prompt: str = "base",
    order: Order = "dataset",
    candidates: int | None = None,
    chain_of_thought: bool = False,
    max_new_tokens: int | None = None,
    path: str | Path | None = None,
    classes: str | Path | None = None,
    image_root: str | Path | None = None,
    split: str = "test",
    share: float | None = None,
    n: int | None = None,
    seed: int = 0,
    remote_images: bool = False,
) -> Task:
    """Which of these labels is it?

    Args:
        prompt: a name of `PROMPTS`, or any text; the labels follow it.
        order: of the labels in the prompt: the data set's, or "random" for each sample.
        candidates: offer the true label and so many others less one, drawn for each sample (default: all labels). The
            candidates of a smaller number are among those of a larger one.
        chain_of_thought: asks for reasoning; its conclusion is read.
        max_new_tokens: where an answer is cut (default: 64, or 512 with `chain_of_thought`).
        pictures, path, classes, image_root, remote_images: see `picture_sets.picture_set`.
        split, share, n, seed: which pictures are asked; see `data.labelled.choose`. Candidates and orders come from
            `seed`, too.

    Raises:
        KeepsightError: an unknown set, pictures that cannot be read, or candidates that are fewer than 2 or more than
            there are labels.
    """
    chosen = picture_set(pictures, path, classes=classes, image_root=image_root, remote_images=remote_images)
    if order not in ("dataset", "random"):
        raise KeepsightError(f"order is {order!r}; give dataset or random")
    require_choice(chosen, pictures, path)
    count = len(_labels(chosen))
    if candidates is not None and not 2 <= candidates <= count:
        raise KeepsightError(
            f"candidates is {candidates}; {chosen.name} has {count} labels: give 2 to {count}"
        )
    asked = _Asked(_wording(prompt), chain_of_thought, order, candidates, offers=True, seed=seed)
    extra = ("random",) * (order == "random") + (f"k{candidates}",) * (candidates is not None)
    name = _name("closed", chosen.name, split, prompt, chain_of_thought, extra)
    return _task(name, chosen, asked, _Part(split, n, share, seed), max_new_tokens)


def candidates_of(
    labels: Sequence[str], truth: str, count: int | None, sample: str, seed: int = 0
) -> tuple[str, ...]:
    """`truth` and `count` - 1 others from the sample's own stream, in the order of `labels`; all if `count` is None.

    The others are the first of one random sequence, so that more candidates keep the fewer.
    """
    if count is None or count >= len(labels):
        return tuple(labels)
    kept = {truth} & set(labels)  # a row that cannot be read has no label
    others = [label for label in labels if label not in kept]
    drawn = kept.union(_shuffled(others, f"{seed}/candidates/{sample}", count - len(kept)))
    return tuple(label for label in labels if label in drawn)


def _shuffled(items: Sequence[str], stream: str, count: int | None = None) -> list[str]:
    """The first `count` of a random order (Fisher and Yates, from the front), by `Random.random` alone."""
    rng, mixed = Random(stream), list(items)
    count = len(mixed) if count is None else count
    for place in range(min(count, len(mixed))):
        other = place + int(rng.random() * (len(mixed) - place))
        mixed[place], mixed[other] = mixed[other], mixed[place]
    return mixed[:count]


@dataclass(frozen=True)
class _Asked:
    """How the question is put."""

    wording: str
    chain_of_thought: bool
    order: Order = "dataset"
    candidates: int | None = None
    offers: bool = False  # the labels stand in the prompt
    seed: int = 0

    def choices(self, labels: Sequence[str], truth: str, sample: str) -> tuple[str, ...]:
        offered = candidates_of(labels, truth, self.candidates, sample, self.seed)
        if self.order == "dataset":
            return offered
        return tuple(_shuffled(offered, f"{self.seed}/order/{sample}"))

    def prompt(self, choices: Sequence[str]) -> str:
        parts = [self.wording]
        if self.offers:
            parts.append(CHOOSE.replace("{labels}", ", ".join(choices)))
        return " ".join([*parts, *[CHAIN_OF_THOUGHT] * self.chain_of_thought])


@dataclass(frozen=True)
class _Part:
    """Which pictures are asked."""

    split: str
    n: int | None
    share: float | None
    seed: int

    def of(self, pictures: PictureSet) -> list[LabelledPicture]:
        return choose(pictures, self.split, n=self.n, share=self.share, seed=self.seed)


def _task(name: str, pictures: PictureSet, asked: _Asked, part: _Part, max_new_tokens: int | None) -> Task:
    labels = _labels(pictures)

    def samples(shown: Sequence[LabelledPicture]) -> list[Sample]:
        made = [_sample(pictures.name, labels, picture, asked) for picture in shown]
        # Mixed, because a limit takes the first: a folder's pictures come class by class.
        return sorted(made, key=lambda sample: digest_of(sample.id))

    default = MAX_NEW_TOKENS_OF_THOUGHT if asked.chain_of_thought else MAX_NEW_TOKENS
    score, *judges = _scorers(labels, asked.chain_of_thought)
    return Task(
        name=name,
        version=VERSION,
        test=lambda: samples(part.of(pictures)),
        infer=Generate(max_new_tokens=default if max_new_tokens is None else max_new_tokens),
        score=score,
        metrics=(accuracy, multiple_labels_share, unparsed_share, refused_share),
        train=lambda: samples(choose(pictures, "train")),
        labels=labels,
        judges=tuple(judges),
        description=_description(pictures, labels, asked),
    )


def _scorers(labels: Sequence[str], chain_of_thought: bool) -> list[Scorer]:
    plain: list[Scorer] = [WholeWord(labels), Inclusion(), OneLabel(labels), Strict(labels)]
    return [Concluding(scorer, labels) for scorer in plain] if chain_of_thought else plain


def _description(pictures: PictureSet, labels: Sequence[str], asked: _Asked) -> str:
    told = f"{asked.candidates or len(labels)} labels offered" if asked.offers else "no label told"
    twice = len(pictures.labels) - len(labels)
    merged = [f"{twice} labels that stand twice are merged."] * (twice > 0)
    return " ".join([f"What is it? ({told})", *merged, *getattr(pictures, "notes", ())])


def _labels(pictures: PictureSet) -> tuple[str, ...]:
    return tuple(dict.fromkeys(label_text(label) for label in pictures.labels))


def _wording(prompt: str) -> str:
    text = PROMPTS.get(prompt, prompt).strip()
    if text.isascii() and " " not in text:  # a name that was mistyped; not every script has blanks
        raise KeepsightError(
            f"prompt {prompt!r} is none of {', '.join(PROMPTS)} and no question; write it out"
        )
    return text


def _name(
    world: str, set_name: str, split: str, prompt: str, chain_of_thought: bool, extra: Sequence[str] = ()
) -> str:
    """Every choice that makes another question shows in the name, so that an audit can hold several."""
    said = {"base": (), PROMPTS["base"]: ()}.get(prompt, (prompt if prompt in PROMPTS else "own",))
    parts = [*[split] * (split != "test"), *said, *extra, *["steps"] * chain_of_thought]
    return "-".join([f"{world}:{set_name}", *parts])


def _sample(set_name: str, labels: tuple[str, ...], picture: LabelledPicture, asked: _Asked) -> Sample:
    label, name = label_text(picture.label), sample_id(set_name, picture)
    choices = asked.choices(labels, label, name)
    return Sample(
        id=name,
        prompt=asked.prompt(choices),
        media=(picture.media,),
        target=(label,) if label else (),  # a row that cannot be read has no label either
        choices=choices,
        meta={"set": set_name, "label": label},
    )
