"""A classification set as training text: the label as the answer to a question, or inside a caption.

Source: Zhang et al., arXiv:2405.18415: section 3.2 and appendix B.5 (classification data), appendix D and Table 10 (does it
matter which kind of text names the class?).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Literal

from keepsight.data.drawn import DrawnSet, Picture
from keepsight.data.labelled import LabelledPicture, PictureSet, label_text
from keepsight.types import KeepsightError, Sample

__all__ = [
    "CAPTION",
    "CAPTION_PROMPT",
    "CLASSIFICATION_PROMPT",
    "CLASS_TEXTS",
    "ClassText",
    "caption_samples",
    "classification_samples",
]

ClassText = Literal["classification", "caption"]
CLASS_TEXTS: tuple[ClassText, ...] = ("classification", "caption")
# Appendices B.1 and B.5, word for word: what is learnt and what is asked.
CLASSIFICATION_PROMPT = "What type of object is in this photo?"
# Appendix D, word for word.
CAPTION_PROMPT = "Generate a caption for the image."
CAPTION = "A photo of a {label}."  # where a set has no captions of its own


def classification_samples(
    pictures: PictureSet,
    shown: Sequence[LabelledPicture],
    questions: Sequence[str] = (CLASSIFICATION_PROMPT,),
) -> list[Sample]:
    """The label as the answer; the pictures ask `questions` in turn."""
    if not questions:
        raise KeepsightError(f"set {pictures.name}: no question to teach the labels with; give one")
    return [
        _sample(pictures, picture, questions[i % len(questions)], label_text(picture.label), "classification")
        for i, picture in enumerate(shown)
    ]


def caption_samples(
    pictures: PictureSet,
    shown: Sequence[LabelledPicture],
    prompt: str = CAPTION_PROMPT,
    *,
    captions: Mapping[str, str] | None = None,
    seed: int = 0,
) -> list[Sample]:
    """A caption that names the label.

    Args:
        captions: picture id -> caption, for every picture (default: a drawn set's own, else "A photo of a {label}.").
        seed: of the wording of a drawn set's captions.

    Raises:
        KeepsightError: a picture without a caption.
    """
    said = [_caption(pictures, picture, captions, seed) for picture in shown]
    return [_sample(pictures, picture, prompt, text, "caption") for picture, text in zip(shown, said)]


def _caption(
    pictures: PictureSet, picture: LabelledPicture, captions: Mapping[str, str] | None, seed: int
) -> str:
    if captions is not None:
        if not captions.get(picture.id, "").strip():
            raise KeepsightError(
                f"set {pictures.name}: picture {picture.id} has no caption; give one for each"
            )
        return captions[picture.id]
    if isinstance(pictures, DrawnSet) and isinstance(picture, Picture):
        written = pictures.captions(picture, Random(f"{seed}/caption/{picture.id}"))
        return max(written, key=len)  # the one that says most
    return CAPTION.format(label=label_text(picture.label))


def _sample(
    pictures: PictureSet, picture: LabelledPicture, prompt: str, target: str, kind: ClassText
) -> Sample:
    return Sample(
        id=picture.id,
        prompt=prompt,
        media=(picture.media,),
        target=(target,),
        meta={"set": pictures.name, "label": label_text(picture.label), "text": kind},
    )
