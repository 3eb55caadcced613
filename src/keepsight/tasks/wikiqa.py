"""ImageWikiQA: multiple-choice questions on "this object", for those who know what the picture shows.

Source: Zhang et al., "Why are Visually-Grounded Language Models Bad at Image Classification?" (arXiv:2405.18415),
section 4.2, Table 4 and appendix C.1.

What differs from the published code:
1. An answer is read as a letter, as the text of one option, or not at all. There, what cannot be read gets a random letter.
2. Questions that share their text are one cluster: three pictures of one question are not three independent samples.
3. The step-by-step request ends the question; there, it begins the model's answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from keepsight.data.drawn.quiz import quiz, quiz_pictures
from keepsight.data.labelled import PictureSet
from keepsight.data.readers import read_set
from keepsight.data.remote import RemotePictures
from keepsight.data.wikiqa import LETTERS, WikiQuestion, asked_text, read_wikiqa, sample_images
from keepsight.inference import Generate
from keepsight.scoring.choice_letter import ChoiceLetter, option_text_share
from keepsight.scoring.metrics import accuracy, refused_share, unparsed_share
from keepsight.types import KeepsightError, MetricValue, Output, Sample, Task

__all__ = ["most_frequent_baseline", "quiz_task", "random_baseline", "wikiqa"]

VERSION = "1"
MAX_NEW_TOKENS = 32
MAX_NEW_TOKENS_OF_THOUGHT = 512


def wikiqa(
    path: str | Path,
    *,
    images: str | Path | None = None,
    pictures: str | Path | PictureSet | None = None,
    chain_of_thought: bool = False,
    with_class_name: bool = False,
    with_picture: bool = True,
    n: int | None = None,
    seed: int = 0,
    remote_images: bool = False,
) -> Task:
    """The questions of a file, one sample per question and picture.

    Args:
        path: JSON lines in the published form or in ours (`data.wikiqa`).
        images: folder that the file's picture paths start from (default: the file's own).
        pictures: a labelled set, or where one lies, to draw at most three pictures per question from.
        chain_of_thought: the question ends with "Let's think step by step."; the conclusion is read.
        with_class_name: the class is named in place of "this object" (Table 4, "w/ GT Class").
        with_picture: False asks the words alone ("w/o Image").
        n: the first so many questions.
        seed: of the pictures drawn from `pictures`.
        remote_images: fetch pictures that rows give as http(s) addresses, under the rules of `data.remote`.

    Raises:
        KeepsightError: a file that holds no such questions; a question without a picture.
    """
    file = Path(path).expanduser()
    remote = RemotePictures() if remote_images else None

    def test() -> list[Sample]:
        questions = read_wikiqa(file, images, remote=remote)[:n]
        if pictures is not None:
            where = read_set(pictures) if isinstance(pictures, (str, Path)) else pictures
            questions = sample_images(questions, where, seed=seed)
        return [
            sample
            for question in questions
            for sample in _samples(question, with_picture, with_class_name, chain_of_thought)
        ]

    return _task(file.stem, test, with_class_name, with_picture, chain_of_thought)


def quiz_task(
    n: int = 10,
    *,
    sets: str | Sequence[str] = (),
    chain_of_thought: bool = False,
    with_class_name: bool = False,
    with_picture: bool = True,
    seed: int = 0,
) -> Task:
    """`wikiqa:world`: thirty questions on the drawn sets, each of `n` pictures of its class.

    The questions are all there are, and the pictures a sample of many: pictures are the clusters here.

    Args:
        n: pictures per question.
        sets: ask of these sets only; on the command line joined by `+`.
        chain_of_thought: the question ends with "Let's think step by step."; the conclusion is read.
        with_class_name: the class is named in place of "this object".
        with_picture: False asks the words alone.
        seed: of the pictures.
    """
    chosen = tuple(sets.split("+")) if isinstance(sets, str) else tuple(sets)

    def test() -> list[Sample]:
        asked = [
            replace(question, images=tuple(picture.media for picture in quiz_pictures(question, n, seed)))
            for question in quiz(*chosen)
        ]
        samples = [s for q in asked for s in _samples(q, with_picture, with_class_name, chain_of_thought)]
        return [replace(s, group=None) if s.media else s for s in samples]

    return _task("-".join(["world", *chosen]), test, with_class_name, with_picture, chain_of_thought)


def random_baseline(samples: Sequence[Sample]) -> MetricValue:
    """What drawing a letter at random is expected to score: the mean of 1 / number of options, exact, so without a width.

    Raises:
        KeepsightError: a sample without choices, or no sample.
    """
    if not samples or not all(sample.choices for sample in samples):
        raise KeepsightError("a random answer needs samples, each with choices")
    expected = sum(1 / len(sample.choices) for sample in samples) / len(samples)
    return MetricValue("random", expected, expected, expected, len(samples), len(samples))


def most_frequent_baseline(samples: Sequence[Sample]) -> MetricValue:
    """Accuracy of always giving the letter that is right most often on these very samples (Table 4, "Max Freq")."""
    if not samples:
        raise KeepsightError("no samples, so no letter is the most frequent one")
    counts = Counter(sample.target[0] for sample in samples)
    letter = max(sorted(counts), key=counts.__getitem__)
    scores = ChoiceLetter()(samples, [Output(letter)] * len(samples))
    return replace(accuracy(samples, scores), name=f"always {letter}")


def _task(
    name: str, test: Callable[[], Sequence[Sample]], class_name: bool, picture: bool, thinks: bool
) -> Task:
    marks = {"class-name": class_name, "no-picture": not picture, "step-by-step": thinks}
    return Task(
        name="-".join([f"wikiqa:{name}", *(mark for mark, holds in marks.items() if holds)]),
        version=VERSION,
        test=test,
        infer=Generate(max_new_tokens=MAX_NEW_TOKENS_OF_THOUGHT if thinks else MAX_NEW_TOKENS),
        score=ChoiceLetter(),
        metrics=(accuracy, unparsed_share, refused_share, option_text_share),
        labels=LETTERS,
        description='What is true of "this object"? Four options; who cannot tell what it is can only guess.',
    )


def _samples(question: WikiQuestion, picture: bool, class_name: bool, thinks: bool) -> Iterator[Sample]:
    """A sample per picture; one without, if pictures are not shown."""
    if picture and not question.images:
        raise KeepsightError(
            f"question {question.id} has no picture; give pictures=SET to draw some, or with_picture=False"
        )
    text = asked_text(question, class_name=class_name, chain_of_thought=thinks)
    for at in range(len(question.images) if picture else 1):
        yield Sample(
            id=f"{question.id}/{at}",
            prompt=text,
            media=(question.images[at],) if picture else (),
            target=(question.letter,),
            choices=question.choices,
            group=question.id,
            meta={"classname": question.classname, "question": question.id, "reference": question.reference},
        )
