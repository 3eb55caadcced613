"""What every question of a diagnosis is asked about: one model, one labelled picture set, and where answers are kept."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from keepsight.data.labelled import LabelledPicture, LabelledSet, PictureSet, choose, label_text
from keepsight.models.clip import ClipModel
from keepsight.scoring.mentions import MentionCounts
from keepsight.store import Store
from keepsight.types import VLM, digest_of

__all__ = ["Progress", "Study"]

Progress = Callable[[str, int, int], None]


def _silent(what: str, done: int, total: int) -> None:
    return None


@dataclass(frozen=True)
class Study:
    """One model on one picture set.

    Every question draws its pictures from here, so that all of them speak of the same ones: `test()` decides a figure,
    `validation()` chooses settings, `train()` teaches. The three never share a picture.
    """

    model: VLM
    pictures: PictureSet
    store: Store  # runs of the tasks that questions ask; running again asks nothing twice
    n: int | None = 300  # test pictures; None: all
    n_validation: int = 100
    n_train: int | None = 1000
    seed: int = 0
    batch_size: int | None = None
    clip: ClipModel | None = None  # the baseline; its encoder is probed beside the model
    corpora: Mapping[str, Path] = field(
        default_factory=dict
    )  # name -> what the model was trained on, by stage
    progress: Progress = field(default=_silent)
    counted: dict[Hashable, MentionCounts] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )  # what `count_corpora` has read: a corpus may have millions of rows and is asked about more than once

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(label_text(label) for label in self.pictures.labels)

    @property
    def work(self) -> Path:
        """A directory for features, heads and checkpoints."""
        return self.store.root / "work"

    def test(self) -> list[LabelledPicture]:
        """The pictures that figures rest on."""
        return choose(self.pictures, "test", n=self.n, seed=self.seed)

    def train(self) -> list[LabelledPicture]:
        """Pictures to learn from: the training split's, less `validation()`."""
        return self._training()[self.n_validation :]

    def validation(self) -> list[LabelledPicture]:
        """Pictures to choose settings by, from the training split."""
        return self._training()[: self.n_validation]

    def _training(self) -> list[LabelledPicture]:
        """In mixed order, because a folder's pictures come class by class."""
        wanted = None if self.n_train is None else self.n_validation + self.n_train
        part = None
        if wanted is not None and isinstance(
            self.pictures, LabelledSet
        ):  # of a million pictures read those alone
            part = min(wanted, self.pictures.count("train"))
        there = choose(self.pictures, "train", n=part, seed=self.seed)
        return sorted(there, key=lambda picture: digest_of([self.seed, picture.id]))[:wanted]
