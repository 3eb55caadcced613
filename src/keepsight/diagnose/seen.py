"""What a study's model and its vision encoder make of pictures: vectors, read once and kept below `study.work`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from keepsight.data.labelled import LabelledPicture, label_text
from keepsight.data.pictures import decode
from keepsight.diagnose.feature_cache import Array, FeatureCache
from keepsight.diagnose.study import Study
from keepsight.models import HFModel
from keepsight.models.features import HasStates, Place
from keepsight.tasks.classification import PROMPTS
from keepsight.types import KeepsightError, Media, Sample

__all__ = [
    "PROMPT",
    "encoder_features",
    "encoder_name",
    "question",
    "readable",
    "require_states",
    "state_features",
    "token_counts",
    "tower_features",
]

PROMPT = PROMPTS["base"]  # appendix B.4 probes with it, too


def question(picture: LabelledPicture) -> Sample:
    """The open-world question about a picture; the label's text is its answer."""
    return Sample(picture.id, PROMPT, (picture.media,), target=(label_text(picture.label),))


def readable(pictures: Sequence[LabelledPicture]) -> tuple[list[LabelledPicture], list[str]]:
    """The pictures that can be decoded, and why the others cannot."""
    kept, faults = [], []
    for picture in pictures:
        try:
            decode(picture.media)
        except KeepsightError as error:
            faults.append(f"{picture.id}: {error}")
        else:
            kept.append(picture)
    return kept, faults


def require_states(study: Study) -> HasStates:
    """The study's model, if its inside can be read.

    Raises:
        KeepsightError: it cannot (a served model, canned answers).
    """
    if not isinstance(study.model, HasStates):
        raise KeepsightError(
            f"model {study.model.name} shows nothing but its answers; probing needs the weights: give hf:PATH or tiny"
        )
    return study.model


def state_features(study: Study, pictures: Sequence[LabelledPicture], places: Sequence[Place]) -> Array:
    """States of the language model at places while it is asked `PROMPT`: float32 [n, p, d].

    One forward pass per picture that is not kept yet gives all places.
    """
    model = require_states(study)
    asked = [question(picture) for picture in pictures]
    named = {f"{layer % (model.layers + 1)}/{position}": (layer, position) for layer, position in places}

    def ask(rows: Sequence[int], wanted: Sequence[str]) -> Iterator[tuple[int, Array]]:
        samples = [asked[row] for row in rows]
        for at, found in model.states(samples, [named[n] for n in wanted], batch_size=study.batch_size):
            yield rows[at], found

    names = [f"{layer % (model.layers + 1)}/{position}" for layer, position in places]
    requests = [sample.request_digest for sample in asked]
    return _cache(study, model.digest).read(
        requests, names, ask, _telling(study, "reading the model's states")
    )


def token_counts(study: Study, pictures: Sequence[LabelledPicture]) -> list[int]:
    """Tokens of each picture's prompt."""
    model = require_states(study)
    asked = [question(picture) for picture in pictures]

    def ask(rows: Sequence[int], wanted: Sequence[str]) -> Iterator[tuple[int, Array]]:
        for row, count in zip(rows, model.token_counts([asked[row] for row in rows])):
            yield row, np.array([[count]])

    found = _cache(study, model.digest).read([sample.request_digest for sample in asked], ["tokens"], ask)
    return [int(count) for count in found[:, 0, 0]]


def encoder_name(study: Study) -> str:
    """What `encoder_features` reads."""
    return (
        f"the encoder of {study.clip.name}"
        if study.clip is not None
        else f"the vision tower of {study.model.name}"
    )


def encoder_features(study: Study, pictures: Sequence[LabelledPicture]) -> Array:
    """The vision encoder's vector of each picture: the study's CLIP, or the model's own tower; float32 [n, d]."""
    clip = study.clip
    if clip is None:
        return tower_features(study, pictures)
    return _embedded(study, clip.digest, "pooled", pictures, clip.embed_images)


def tower_features(study: Study, pictures: Sequence[LabelledPicture]) -> Array:
    """The mean over patches of the model's own vision tower: float32 [n, d].

    Raises:
        KeepsightError: the model's tower cannot be read.
    """
    model = study.model
    if not isinstance(model, HFModel):
        raise KeepsightError(f"model {model.name} shows no vision tower; give the study a CLIP")
    return _embedded(study, model.digest, "tower", pictures, model.embed_images)


def _embedded(
    study: Study,
    digest: str,
    place: str,
    pictures: Sequence[LabelledPicture],
    embed: Callable[[Sequence[Media]], Array],
) -> Array:
    def ask(rows: Sequence[int], wanted: Sequence[str]) -> Iterator[tuple[int, Array]]:
        yield from zip(rows, embed([pictures[row].media for row in rows])[:, None])

    requests = [picture.media.sha256 for picture in pictures]
    told = _telling(study, "encoding the pictures")
    return _cache(study, digest).read(requests, [place], ask, told)[:, 0]


def _cache(study: Study, digest: str) -> FeatureCache:
    return FeatureCache(study.work / "features", digest)


def _telling(study: Study, what: str) -> Callable[[int, int], None]:
    return lambda done, total: study.progress(what, done, total)
