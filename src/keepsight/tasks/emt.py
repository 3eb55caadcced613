"""EMT: a vision-language model asked as an image classifier, to see what a fine-tune forgot.

Source: Zhai et al., "Investigating the Catastrophic Forgetting in Multimodal Large Language Models"
(arXiv:2309.10313), section 4 and appendices C.1 and D.1.

What differs from the paper:
1. The paper asks 20 % of the *training* data; the default here is the test split. `split="train", share=0.2` asks
   as the paper did.
2. The answer is read by a whole-word label match first; the paper's judge (a language model's yes or no) and its
   text-embedding judge are further scorers over the same outputs.
3. Any set of labelled pictures can be asked, not only MNIST, CIFAR-10, CIFAR-100 and miniImagenet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from keepsight.data.drawn import ALL_SETS
from keepsight.data.labelled import LabelledPicture, PictureSet, choose, label_text
from keepsight.data.llava import instruction_samples
from keepsight.data.published import PUBLISHED
from keepsight.inference import Generate
from keepsight.scoring.judges.label_match import LabelMatch
from keepsight.scoring.metrics import accuracy, refused_share, unparsed_share
from keepsight.scoring.taxonomy import Taxonomy
from keepsight.tasks.picture_sets import picture_set, require_choice, sample_id
from keepsight.types import Sample, Task, digest_of

__all__ = ["PROMPT", "closed_world_prompt", "emt", "with_foreign_labels"]

VERSION = "1"
# Appendix C.1, word for word with noun = "number" (MNIST) or "object" (the others). The labels stand in data-set order,
# in text form, and the full stop follows the last one directly.
PROMPT = "What is the {noun} in the image? Please only answer a single {noun} in {labels}."
MAX_NEW_TOKENS = 32  # room for a whole sentence, so that hallucinated additions are seen, not cut off

# A scene's class is a number word: as a foreign label it would turn every "one" into a leak.
_NOT_FOREIGN = {"scenes"}


def emt(
    pictures: str | Path | PictureSet,
    *,
    path: str | Path | None = None,
    split: str = "test",
    share: float | None = None,
    n: int | None = None,
    seed: int = 0,
    foreign: Mapping[str, Sequence[str]] | None = None,
    remote_images: bool = False,
    classes: str | Path | None = None,
    image_root: str | Path | None = None,
) -> Task:
    """The EMT task of one picture set.

    Args:
        pictures, path, classes, image_root, remote_images: see `picture_sets.picture_set`.
        split: which pictures are asked: "test", "train" or "all".
        share: ask a random part of the split (the paper: 0.2 of "train"). Not together with `n`.
        n: ask this many pictures (default: all, or 300 of a drawn set's test split).
        seed: of the random choice.
        foreign: labels of other sets by set name. An answer with one of them is flagged as a leak. Default: the
            other sets of the same family. An audit passes the sets it holds (`with_foreign_labels`).

    Raises:
        KeepsightError: an unknown set, pictures that cannot be read, or a set with a single class.
    """
    chosen = picture_set(pictures, path, classes=classes, image_root=image_root, remote_images=remote_images)
    require_choice(chosen, pictures, path)
    labels = tuple(label_text(label) for label in chosen.labels)
    prompt = closed_world_prompt(chosen.noun, labels)

    def test() -> list[Sample]:
        shown = choose(chosen, split, n=n, share=share, seed=seed)
        samples = [_sample(chosen.name, prompt, labels, picture) for picture in shown]
        # Mixed, because a limit takes the first: a folder's pictures come class by class.
        return sorted(samples, key=lambda sample: digest_of(sample.id))

    others = foreign if foreign is not None else _family(chosen.name)
    return Task(
        name=f"emt:{chosen.name}" if split == "test" else f"emt:{chosen.name}-{split}",
        version=VERSION,
        test=test,
        infer=Generate(max_new_tokens=MAX_NEW_TOKENS),
        score=LabelMatch(labels),
        metrics=(accuracy, unparsed_share, refused_share),
        train=lambda: instruction_samples(chosen),
        labels=labels,
        judges=(Taxonomy(labels, foreign=dict(others)),),
        description=" ".join([f"Which of {len(labels)} labels is it?", *getattr(chosen, "notes", ())]),
    )


def with_foreign_labels(tasks: Sequence[Task]) -> list[Task]:
    """The same tasks, each EMT task flagging as leaks the labels of the *other* EMT tasks in the list.

    A list with one EMT task keeps that task's own foreign labels.
    """
    sets = {_set_name(task): task.labels for task in tasks if _set_name(task) not in (None, *_NOT_FOREIGN)}
    return [task if _set_name(task) is None else _with_taxonomy(task, sets) for task in tasks]


def closed_world_prompt(noun: str, labels: Sequence[str]) -> str:
    """The closed-world question of appendix C.1."""
    return PROMPT.format(noun=noun, labels=", ".join(labels))


def _set_name(task: Task) -> str | None:
    return task.name.removeprefix("emt:") if task.name.startswith("emt:") else None


def _with_taxonomy(task: Task, sets: Mapping[str | None, tuple[str, ...]]) -> Task:
    others = {str(name): labels for name, labels in sets.items() if name != _set_name(task)}
    if not others:
        return task
    kept = [judge for judge in task.judges if not isinstance(judge, Taxonomy)]
    return replace(task, judges=(Taxonomy(task.labels, foreign=others), *kept))


def _family(name: str) -> dict[str, tuple[str, ...]]:
    """Label sets that a model audited on this set was probably tuned on."""
    if name in PUBLISHED:
        return {other: about.labels for other, about in PUBLISHED.items() if other != name and about.labels}
    return {other: s.labels for other, s in ALL_SETS.items() if other != name and other not in _NOT_FOREIGN}


def _sample(set_name: str, prompt: str, labels: tuple[str, ...], picture: LabelledPicture) -> Sample:
    label = label_text(picture.label)
    return Sample(
        id=sample_id(set_name, picture),
        prompt=prompt,
        media=(picture.media,),
        target=(label,) if label else (),  # a row that cannot be read has no label either
        choices=labels,
        meta={"set": set_name, "label": label},
    )
