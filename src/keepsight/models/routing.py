"""Which of several experts a sample belongs to: by its picture and its question, as the untuned base sees them.

A sample's vector is the vision tower's mean output (over its pictures; zeros without one) beside the mean of the language
model's input embeddings over the question's words. An expert keeps a few prototypes of what it learnt from; a sample
goes to the expert with the nearest one. Distances are in units of the spread around a sample's own prototype, and picture
and question count alike, however many numbers each has.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keepsight.types import KeepsightError, Media, Sample

if TYPE_CHECKING:
    from keepsight.models.hf import HFModel

__all__ = ["Prototypes", "Router", "cluster", "routing_features"]

_ROUNDS = 50  # of k-means, at most
_FLOOR = (
    0.01  # of a number's whole variance: what never varies around its prototype would count without limit
)


@dataclass(frozen=True)
class Prototypes:
    """What one expert has seen: k cluster centres, how many samples each has, and their spread around them."""

    centres: Any  # float [k, d]
    counts: Any  # float [k]
    within: Any  # float [d]: mean square of the distance to the own centre, per number


@dataclass(frozen=True)
class Router:
    """Prototypes of all experts, and the unit of every number of a vector."""

    centres: Any  # float [p, d]
    owners: Any  # int [p]: which expert's
    unit: Any  # float [d]

    @classmethod
    def of(cls, experts: Sequence[Prototypes], width: int) -> Router:
        """A router among experts. The first `width` numbers of a vector are the picture's, the others the question's."""
        import numpy as np

        counts = np.concatenate([expert.counts for expert in experts])  # [p]
        centres = np.concatenate([expert.centres for expert in experts])  # [p, d]
        within = np.average([e.within for e in experts], axis=0, weights=[e.counts.sum() for e in experts])
        between = np.average(
            (centres - np.average(centres, axis=0, weights=counts)) ** 2, axis=0, weights=counts
        )
        unit = _unit(within + _FLOOR * (within + between), width)
        owners = np.repeat(np.arange(len(experts)), [len(expert.counts) for expert in experts])
        return cls(centres, owners, unit)

    def nearest(self, features: Any) -> Any:
        """The expert of each vector: [n, d] -> int [n]; of two equally near ones the first."""
        import numpy as np

        return np.array(
            [self.owners[_distances(row / self.unit, self.centres / self.unit).argmin()] for row in features],
            int,
        )


def cluster(features: Any, k: int, seed: int, width: int) -> Prototypes:
    """At most k prototypes of vectors [n, d] by k-means, the same for the same seed; `width` as for `Router.of`."""
    import numpy as np

    points = np.asarray(features, float) / _unit(np.var(features, axis=0), width)
    own = _k_means(points, min(k, len(points)), np.random.default_rng(seed))  # [n]
    used, own = np.unique(own, return_inverse=True)
    centres = np.stack([features[own == at].mean(axis=0) for at in range(len(used))])
    within = ((features - centres[own]) ** 2).mean(axis=0)
    return Prototypes(centres, np.bincount(own).astype(float), within)


def _unit(variance: Any, width: int) -> Any:
    """In what units numbers [d] are compared: each by its spread, and the two parts of a vector by their lengths."""
    import numpy as np

    lengths = np.where(np.arange(len(variance)) < width, width, len(variance) - width)
    return np.sqrt(np.where(variance > 0, variance, 1.0) * lengths)


def _k_means(points: Any, k: int, random: Any) -> Any:
    """The cluster of every point; the first centres are drawn far from each other (k-means++)."""
    import numpy as np

    centres = points[[random.integers(len(points))]]
    while len(centres) < k:
        near = np.min([_distances(centre, points) for centre in centres], axis=0)
        if not near.any():  # fewer different points than k
            break
        centres = np.concatenate([centres, points[[random.choice(len(points), p=near / near.sum())]]])
    own = None
    for _ in range(_ROUNDS):
        before, own = own, np.argmin([_distances(centre, points) for centre in centres], axis=0)
        if before is not None and (own == before).all():
            break
        centres = np.stack(
            [points[own == at].mean(axis=0) if (own == at).any() else c for at, c in enumerate(centres)]
        )
    return own


def _distances(point: Any, points: Any) -> Any:
    """Squared distances [n] of one point [d] to others [n, d]."""
    return ((points - point) ** 2).sum(axis=1)


def routing_features(model: HFModel, samples: Sequence[Sample]) -> tuple[Any, int]:
    """Vectors float64 [n, d] of samples, and how many of their numbers are the picture's.

    A sample with a picture that cannot be read counts as one without: whoever asks it says what is wrong with it.
    """
    import numpy as np

    seen: dict[str, Any] = {}
    blank = _vector(model, _blank(), seen)
    pictures = [_pictures(model, sample, seen, len(blank)) for sample in samples]
    questions = [_question(model, sample.prompt) for sample in samples]
    return np.concatenate([np.stack(pictures), np.stack(questions)], axis=1).astype(float), len(blank)


def _pictures(model: HFModel, sample: Sample, seen: dict[str, Any], width: int) -> Any:
    import numpy as np

    try:
        vectors = [_vector(model, media, seen) for media in sample.media]
    except KeepsightError:
        vectors = []
    return np.mean(vectors, axis=0) if vectors else np.zeros(width)


def _vector(model: HFModel, media: Media, seen: dict[str, Any]) -> Any:
    if media.sha256 not in seen:
        seen[media.sha256] = model.embed_images([media])[0]
    return seen[media.sha256]


def _question(model: HFModel, prompt: str) -> Any:
    """The mean of the words' input embeddings [d]; zeros for an empty question."""
    import numpy as np

    words = prompt.replace("<image>", " ").strip()
    ids = model.processor.tokenizer(words, add_special_tokens=False)["input_ids"]
    table = model.module.get_input_embeddings().weight
    return table[ids].detach().float().mean(dim=0).cpu().numpy() if ids else np.zeros(table.shape[1])


def _blank() -> Media:
    """A grey picture, from which the length of a picture's vector is learnt."""
    from PIL import Image

    data = io.BytesIO()
    Image.new("RGB", (64, 64), (128, 128, 128)).save(data, "PNG")
    return Media(data=data.getvalue())
