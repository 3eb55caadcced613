"""Two questions on drawn scenes, whose every object is known: is this thing there, and what is there?

Source of the polling form: POPE (Li et al., arXiv:2305.10355, section 5.1); of naming what is made up: CHAIR (Rohrbach
et al., arXiv:1809.02156, section 2).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random

from keepsight.data.drawn import SETS, Picture
from keepsight.data.drawn.outlines import KINDS
from keepsight.data.drawn.palette import COLOURS
from keepsight.data.drawn.phrases import a, presence
from keepsight.data.drawn.picture import pick
from keepsight.inference import Generate
from keepsight.scoring.metrics import accuracy, mean_value, unparsed_share, yes_ratio
from keepsight.scoring.recall import ObjectRecall
from keepsight.scoring.yes_no import YesNo
from keepsight.types import MetricValue, Sample, Score, Task

__all__ = ["CAPTION_PROMPT", "objects_in_scenes", "polling_scenes"]

VERSION = "1"
CAPTION_PROMPT = "Describe the image."


def polling_scenes(n: int | None = None, seed: int = 0) -> Task:
    """`yesno:scenes`: four presence questions per scene, two whose answer is yes and two whose answer is no.

    One pair asks for a kind. The other asks for a colour and a kind; its "no" names a colour and a kind that are both
    in the scene, on different objects, wherever there are such: recognising the words of the question is not enough.
    Questions on one picture are one cluster.

    Args:
        n: scenes asked (default 300).
        seed: of the scenes and of the questions on them.
    """

    def test() -> list[Sample]:
        return [sample for scene in SETS["scenes"].test(n, seed) for sample in _polls(scene, seed)]

    return Task(
        name="yesno:scenes",
        version=VERSION,
        test=test,
        infer=Generate(max_new_tokens=16),
        score=YesNo(),
        metrics=(accuracy, yes_ratio, unparsed_share),
        description="Is this object in the scene? Balanced, half of the absent ones made of parts that are there.",
    )


def objects_in_scenes(n: int | None = None, seed: int = 0) -> Task:
    """`objects:scenes`: a caption; how many of the scene's kinds it names, and how often it makes one up."""
    return Task(
        name="objects:scenes",
        version=VERSION,
        test=lambda: [_caption(scene) for scene in SETS["scenes"].test(n, seed)],
        infer=Generate(max_new_tokens=48),
        score=ObjectRecall(KINDS),
        metrics=(object_recall, hallucinating_captions, unparsed_share),
        description="Which of the scene's objects does a caption name, and which does it make up?",
    )


def object_recall(samples: Sequence[Sample], scores: Sequence[Score]) -> MetricValue:
    """Mean share of a scene's kinds that its caption names."""
    return replace(mean_value(samples, scores), name="object_recall")


def hallucinating_captions(samples: Sequence[Sample], scores: Sequence[Score]) -> MetricValue:
    """Share of captions that name a kind which is not there (CHAIR_s)."""
    made_up = [
        replace(score, value=float(any(tag.startswith("hallucinated:") for tag in score.tags)))
        if score.scored
        else score
        for score in scores
    ]
    return replace(accuracy(samples, made_up), name="hallucinating_captions")


def _polls(scene: Picture, seed: int) -> Iterator[Sample]:
    rng = Random(f"{seed}/{scene.id}/polls")
    for number, (what, thing, there) in enumerate(_things(scene, rng)):
        question = presence(a(thing), there)
        yield Sample(
            id=f"{scene.id}/{number}",
            prompt=question.prompt,
            media=(scene.media,),
            target=(question.answer,),
            meta={"set": "scenes", "asked": what, "thing": thing},
        )


def _things(scene: Picture, rng: Random) -> list[tuple[str, str, bool]]:
    """(what is asked for, the thing, whether it is there)."""
    objects = scene.facts["objects"]
    kinds = [thing["kind"] for thing in objects]
    pairs = [(thing["colour"], thing["kind"]) for thing in objects]
    mixed = [(c, k) for c, _ in pairs for _, k in pairs if (c, k) not in pairs]
    repainted = [(c, k) for _, k in pairs for c in COLOURS if (c, k) not in pairs]
    return [
        ("kind", pick(rng, kinds), True),
        ("kind", pick(rng, [kind for kind in KINDS if kind not in kinds]), False),
        ("colour and kind", " ".join(pick(rng, pairs)), True),
        ("colour and kind", " ".join(pick(rng, mixed or repainted)), False),
    ]


def _caption(scene: Picture) -> Sample:
    kinds = tuple(dict.fromkeys(thing["kind"] for thing in scene.facts["objects"]))
    return Sample(
        id=scene.id, prompt=CAPTION_PROMPT, media=(scene.media,), target=kinds, meta={"set": "scenes"}
    )
