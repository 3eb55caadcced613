"""Rows of one's own as a task: `rows:PATH` holds a part of a file out, learns from the rest and is asked what was held out.

Made for those who tune on their own LLaVA JSON and want to know what one file makes the model forget of another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from keepsight.data.asked_rows import held_out, read_asked_rows
from keepsight.data.labelled import smallest
from keepsight.data.messages import picture_root
from keepsight.data.remote import RemotePictures
from keepsight.errors import UsageError
from keepsight.inference import Generate
from keepsight.scoring.boxes import UNITS, BoxAccuracy, BoxOverlap, Unit
from keepsight.scoring.choice_letter import ChoiceLetter, LetterOnly, read_letter
from keepsight.scoring.metrics import accuracy, mean_value, refused_share, unparsed_share
from keepsight.scoring.vqa import Contains, Exact, VqaVote
from keepsight.types import KeepsightError, Output, Sample, Scorer, Task, digest_of

__all__ = ["METRICS", "rows"]

VERSION = "1"
HELD_OUT = 0.1  # of the pictures
MAX_NEW_TOKENS = 128
# Name -> the headline scorer and the one beside it, given how boxes are counted.
METRICS: Mapping[str, Callable[[Unit], tuple[Scorer, Scorer]]] = {
    "exact": lambda _: (Exact(), Contains()),
    "contains": lambda _: (Contains(), Exact()),
    "choice": lambda _: (LetterOnly(), ChoiceLetter()),
    "vqa": lambda _: (VqaVote(), Contains()),
    "box": lambda unit: (BoxAccuracy(unit), BoxOverlap(unit)),
}


def rows(
    path: str | Path,
    *,
    metric: Literal["exact", "contains", "choice", "vqa", "box"] = "exact",
    split: Literal["test", "train", "all"] = "test",
    holdout: float = HELD_OUT,
    image_folder: str | Path | None = None,
    box_unit: Unit = "share",
    n: int | None = None,
    seed: int = 0,
    task_name: str | None = None,
    max_new_tokens: int = MAX_NEW_TOKENS,
    remote_images: bool = False,
    on_bad_row: Callable[[str], None] | None = None,
) -> Task:
    """Questions and answers of a file: LLaVA JSON, messages, or rows with text and answer.

    Args:
        path: see `data.asked_rows.read_asked_rows`.
        metric: "exact" (equal after normalisation), "contains", "choice" (the letter of an option), "vqa" (the vote of the
            row's "answers"), or "box" (IoU above a half).
        split: "test" asks the rows held out, "train" the others, which `train()` gives in both cases; "all" asks every row,
            and then there is nothing to learn from.
        holdout: share of the pictures whose rows are held out, above 0 and below 1; which ones follows from their names.
        image_folder: folder that pictures' paths start from, and may not leave (default: the file's).
        box_unit: what the rows' and the answers' boxes count: "share" (0..1), "percent", "thousand".
        n: ask so many of these rows, drawn with `seed`; `n` + 1 rows hold them (default: all).
        seed: of `n`, and of nothing else.
        task_name: the task is called `rows:TASK_NAME` (default: the file's name without its suffix).
        max_new_tokens: where an answer is cut.
        remote_images: fetch pictures that rows give as http(s) addresses, under the rules of `data.remote`.
        on_bad_row: called with one line per row that cannot be used, which is then neither learnt nor asked (default: it
            is an error). The rows are read anew whenever they are asked for.

    Raises:
        UsageError: a setting with a value that there is none of.
        KeepsightError: said when rows are asked for: a row that cannot be used, by its place.
    """
    file = Path(path).expanduser()
    _check(file, metric, split, holdout, box_unit, n)
    score, beside = METRICS[metric](box_unit)

    def read(part: str) -> list[Sample]:
        root = picture_root(file, image_folder)
        remote = RemotePictures() if remote_images else None
        samples = read_asked_rows(file, root, remote=remote, on_bad_row=on_bad_row)
        if part == "all":
            return samples
        learnt, asked = held_out(samples, holdout, root)
        return asked if part == "test" else learnt

    def test() -> list[Sample]:
        return [_scorable(sample, metric, score, file) for sample in _drawn(file, read(split), n, seed)]

    marks = [*[metric] * (metric != "exact"), *[split] * (split != "test")]
    return Task(
        name="-".join([f"rows:{task_name or file.stem}", *marks]),
        version=VERSION,
        test=test,
        infer=Generate(max_new_tokens=max_new_tokens),
        score=score,
        metrics=(mean_value if metric == "vqa" else accuracy, unparsed_share, refused_share),
        train=None if split == "all" else lambda: read("train"),
        judges=(beside,),
        description=f"Questions of {file.name}.",
    )


def _check(file: Path, metric: str, split: str, holdout: float, unit: str, n: int | None) -> None:
    for what, value, known in (
        ("metric", metric, METRICS),
        ("split", split, ("test", "train", "all")),
        ("box_unit", unit, [name for name, edge in UNITS.items() if edge is not None]),
    ):
        if value not in known:
            raise UsageError(f"rows:{file.name}: {what} is {value!r}; give {', '.join(known)}")
    if not isinstance(holdout, float) or not 0 < holdout < 1:
        raise UsageError(f"rows:{file.name}: holdout {holdout} is not above 0 and below 1; 0.1 means 10 %")
    if n is not None and (not isinstance(n, int) or isinstance(n, bool) or n < 1):
        raise UsageError(f"rows:{file.name}: n={n} is not a number of rows; ask for 1 or more")


def _scorable(sample: Sample, metric: str, score: Scorer, file: Path) -> Sample:
    """The sample, if an answer to it can be scored: what is missing is said before a model is asked.

    Where the letter of an option is asked for, an answer such as "B. a cat" becomes its letter; it is learnt as it stands.
    """
    if metric == "choice" and (letter := read_letter(sample.target[0], sample.choices).letter):
        sample = replace(sample, target=(letter,))
    try:
        score([sample], [Output(sample.target[0])])
    except KeepsightError as error:
        raise KeepsightError(f"{file}: metric={metric} does not fit: {error}") from error
    return sample


def _drawn(file: Path, samples: Sequence[Sample], n: int | None, seed: int) -> list[Sample]:
    if n is not None and n > len(samples):
        raise KeepsightError(f"rows:{file.name}: {n} rows asked, there are {len(samples)}; ask for fewer")
    ids = [sample.id for sample in samples]
    chosen = samples if n is None else [samples[at] for at in smallest(ids, n, seed)]
    return sorted(chosen, key=lambda sample: digest_of(sample.id))  # mixed, because a limit takes the first
