"""Studies without torch: pictures that are their labels, a model that does as told, a CLIP that reads them."""

from __future__ import annotations

import numpy as np

from keepsight.data.labelled import LabelledImage
from keepsight.diagnose import Study
from keepsight.store import Store
from keepsight.types import Media, Output, digest_of


class Animals:
    """`per_split` pictures whose bytes name their label."""

    name, noun = "animals", "object"

    def __init__(self, labels=("ant", "bee", "cat", "dog", "elk", "fox"), per_split=90):
        self.labels, self.per_split = tuple(labels), per_split

    def train(self, n=None, seed=0):
        return self._pictures("train")[:n]

    def test(self, n=None, seed=0):
        return self._pictures("test")[:n]

    def _pictures(self, split):
        places = [(i, self.labels[i % len(self.labels)]) for i in range(self.per_split)]
        return [
            LabelledImage(f"{split}/{i}", Media(data=f"{label} {split} {i}".encode()), label)
            for i, label in places
        ]


class FakeClip:
    """Sees the label in a picture's bytes, except in every `blind_every`-th picture: there it sees the first label."""

    name, digest, scale = "fake clip", "clip digest", 10.0

    def __init__(self, labels, blind_every=0):
        self.labels, self.blind_every = list(labels), blind_every

    def embed_texts(self, texts):
        return (
            np.stack([self._one(text.removeprefix("a photo of a ")) for text in texts])
            if texts
            else np.zeros((0, 1))
        )

    def embed_images(self, media):
        return (
            np.stack([self._seen(*m.data.decode().rsplit(" ", 2)) for m in media])
            if media
            else np.zeros((0, 1))
        )

    def _seen(self, label, split, number):
        blind = self.blind_every and int(number) % self.blind_every == 1
        return self._one(self.labels[0] if blind else label)

    def _one(self, label):
        return np.eye(len(self.labels))[self.labels.index(label)]


class Model:
    """Says `answer(sample)`; counts what it is asked."""

    name, asked = "fake", 0

    def __init__(self, answer, digest="m"):
        self.answer, self.digest = answer, digest_of(digest)

    def generate(self, samples, *, batch_size=None, **settings):
        for index, sample in enumerate(samples):
            self.asked += 1
            yield index, Output(self.answer(sample), stop="eos")


def study(tmp_path, answer, *, pictures=None, clip=True, blind_every=0, n=30, **settings):
    pictures = pictures or Animals()
    return Study(
        Model(answer),
        pictures,
        Store(tmp_path),
        n=n,
        n_validation=settings.pop("n_validation", 12),
        clip=FakeClip(pictures.labels, blind_every) if clip else None,
        **settings,
    )


def figures(finding):
    return {figure.name: figure for figure in finding.figures}
