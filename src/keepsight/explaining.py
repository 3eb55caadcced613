"""The verb behind `keepsight diagnose`: one model, one picture set, questions in order, and what became of each."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keepsight.diagnose import QUESTIONS, Study
from keepsight.diagnose.about import Sizes, cost_of, question_titles
from keepsight.errors import redacted
from keepsight.report.diagnosis import write_diagnosis
from keepsight.scoring.findings import Diagnosis, FailedQuestion, Finding
from keepsight.store import Store, StoreError, require_place
from keepsight.types import VLM, KeepsightError
from keepsight.verbs import OUTPUT_PATH, load_models

if TYPE_CHECKING:
    from keepsight.data.labelled import PictureSet
    from keepsight.diagnose.study import Progress
    from keepsight.models.clip import ClipModel

__all__ = ["PlannedQuestion", "chosen_questions", "explain", "plan_questions"]

DEFAULT_TEST = 300  # pictures, or all that a set has
_TRAINED_HERE = (
    "tiny"  # the shipped CLIP's tower is this model's, so it is the baseline unless another is named
)


@dataclass(frozen=True)
class PlannedQuestion:
    """One question before it is asked. `requests` is None where nobody knows before it is asked."""

    question: str
    title: str
    work: str
    requests: int | None
    trains: bool


def explain(
    model: Any,
    data: str | Path | PictureSet,
    questions: Sequence[str] = (),
    output_path: str | Path = OUTPUT_PATH,
    *,
    limit: int | None = None,
    n_train: int | None = 1000,
    n_validation: int = 100,
    clip: Any = "auto",
    corpora: Mapping[str, str | Path] | Sequence[str | Path] = (),
    seed: int = 0,
    batch_size: int | None = None,
    device: str | None = None,
    dtype: str | None = None,
    model_args: Mapping[str, Any] | None = None,
    data_args: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Diagnosis:
    """Asks why a model is bad at a picture set. Running again resumes: what was answered is not asked again.

    Writes runs and pictures below `output_path`, and `findings.json` and `diagnosis.html` unless no question at all
    could be answered.

    Args:
        model: what `keepsight.models.load` takes.
        data: a picture set: a drawn or published set's name, a folder of class folders, a parquet or JSON lines file,
            a data-set directory, any of them with `emt:`, `open:` or `closed:` in front, or the set itself.
        questions: names from `keepsight ls questions`, or `["all"]`; by default those that train nothing.
        limit: test pictures (default: 300); all where there are fewer.
        n_train, n_validation: pictures of the training split to learn from and to choose settings by. Where there are
            too few, a quarter of them chooses and the others teach.
        clip: the baseline: "auto" (the shipped CLIP for `tiny`, none for others), a ref as `clip:PATH`, or None.
        corpora: what the model was trained on, one file or folder per stage; name -> path, or paths.
        seed: of every random choice.
        device, dtype, model_args: as for `keepsight.models.load`.
        data_args: `path` of a published set, `remote_images`.
        progress: called as `(what, done, total)`.
        options: settings of single questions (`solver`, `sizes`, ...), each given to the questions that have it.

    Raises:
        KeepsightError: an unknown model, set, question or option. A question that fails later is in `failed`.
    """
    require_place(Path(output_path))
    stages = _stages(corpora)
    names = chosen_questions(questions, stages)
    given = {name: _options_of(name, options) for name in names}
    _require_takers(options, given)
    pictures = _pictures(data, data_args or {})
    sizes = _sizes(pictures, limit, n_train, n_validation)
    (asked,) = load_models([model], device, dtype, model_args)
    study = Study(
        model=asked,
        pictures=pictures,
        store=Store(output_path),
        n=sizes.test,
        n_validation=sizes.validation,
        n_train=None if n_train is None else sizes.train,
        seed=seed,
        batch_size=batch_size,
        clip=_baseline(clip, asked, device),
        corpora=stages,
        **({"progress": progress} if progress else {}),
    )
    diagnosis = _asked_all(study, given)
    if diagnosis.findings:
        write_diagnosis(diagnosis, output_path)
    return diagnosis


def chosen_questions(names: Sequence[str], corpora: Collection[Any] = ()) -> list[str]:
    """The questions to ask, in the order of `QUESTIONS`.

    Raises:
        KeepsightError: a name that is no question.
    """
    if unknown := [name for name in names if name not in QUESTIONS and name != "all"]:
        raise KeepsightError(
            f"there is no question {unknown[0]!r}; choose from {', '.join(QUESTIONS)}, or all"
        )
    if names:
        return [name for name in QUESTIONS if name in names or "all" in names]
    chosen = [name for name in QUESTIONS if _is_asked_by_default(name, corpora)]
    if not chosen:
        raise KeepsightError("there is no question that trains nothing; name one (keepsight ls questions)")
    return chosen


def _is_asked_by_default(question: str, corpora: Collection[Any]) -> bool:
    cost = cost_of(question)
    return not cost.trains and (bool(corpora) or not cost.reads_corpus)


def plan_questions(
    data: str | Path | PictureSet,
    questions: Sequence[str] = (),
    *,
    limit: int | None = None,
    n_train: int | None = 1000,
    n_validation: int = 100,
    corpora: Mapping[str, str | Path] | Sequence[str | Path] = (),
    data_args: Mapping[str, Any] | None = None,
) -> list[PlannedQuestion]:
    """What `explain` would do; arguments as there. No weights are loaded and nothing is written."""
    pictures = _pictures(data, data_args or {})
    sizes = _sizes(pictures, limit, n_train, n_validation)
    titles = question_titles()
    planned = []
    for name in chosen_questions(questions, corpora):
        cost = cost_of(name)
        requests = cost.requests(sizes) if cost.requests else None
        planned.append(PlannedQuestion(name, titles[name], cost.work, requests, cost.trains))
    return planned


def _sizes(pictures: PictureSet, limit: int | None, n_train: int | None, n_validation: int) -> Sizes:
    """As many pictures as asked for, or as there are. A set without a training split says so when it is asked for one."""
    wanted, tests = DEFAULT_TEST if limit is None else limit, _count(pictures, "test")
    test = wanted if tests is None else min(wanted, tests)
    there = _count(pictures, "train")
    if not there:
        return Sizes(test, n_validation, n_train or 0, len(pictures.labels))
    validation = min(n_validation, there // 4)
    left = there - validation
    return Sizes(test, validation, left if n_train is None else min(n_train, left), len(pictures.labels))


def _stages(corpora: Mapping[str, str | Path] | Sequence[str | Path]) -> dict[str, Path]:
    """Name -> path of every corpus that is there; a path without a name is called as its file."""
    from keepsight.data.corpora import corpus_files

    if isinstance(corpora, Mapping):
        named = {name: Path(path).expanduser() for name, path in corpora.items()}
    else:
        named = {Path(path).stem: Path(path).expanduser() for path in corpora}
    if len(named) < len(corpora):
        raise KeepsightError("two corpora have one name; give each stage of the training a name of its own")
    for path in named.values():
        corpus_files(path)  # refuses what is not there, before anything is asked
    return named


# ---- asking ---------------------------------------------------------------------------------------------


def _asked_all(study: Study, given: Mapping[str, Mapping[str, Any]]) -> Diagnosis:
    findings, failed = [], []
    titles = question_titles()
    for name, options in given.items():
        study.progress(name, 0, 1)
        found = _asked(QUESTIONS[name], study, options)
        if isinstance(found, Finding):
            findings.append(found)
        else:
            failed.append(FailedQuestion(name, titles[name] or name, found))
    return Diagnosis(
        model=study.model.name,
        checkpoint_digest=study.model.digest,
        pictures=study.pictures.name,
        labels=len(study.labels),
        findings=tuple(findings),
        failed=tuple(failed),
        settings=_shared_settings(study),
    )


def _asked(ask: Callable[..., Finding], study: Study, options: Mapping[str, Any]) -> Finding | str:
    """What was found, or why nothing was."""
    try:
        return ask(study, **options)
    except StoreError:  # the other answers could not be kept either
        raise
    except Exception as error:  # whatever it is, it must not cost the other questions
        if os.environ.get("KEEPSIGHT_TRACEBACK"):
            raise
        text = " ".join(str(error).split())
        return text if isinstance(error, KeepsightError) else redacted(f"{type(error).__name__}: {text}")


def _shared_settings(study: Study) -> dict[str, Any]:
    return {
        "test_pictures": study.n,
        "training_pictures": study.n_train,
        "validation_pictures": study.n_validation,
        "seed": study.seed,
        "baseline": None if study.clip is None else study.clip.name,
        "corpora": list(study.corpora),
    }


def _options_of(question: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `options` that the question's function takes."""
    taken = list(inspect.signature(QUESTIONS[question]).parameters)[1:]
    return {name: options[name] for name in taken if name in options}


def _require_takers(options: Mapping[str, Any], given: Mapping[str, Mapping[str, Any]]) -> None:
    for name in options:
        if not any(name in taken for taken in given.values()):
            takers = [question for question in QUESTIONS if _options_of(question, {name: None})]
            cure = f"ask {' or '.join(takers)}, too" if takers else "leave it out"
            raise KeepsightError(f"no question that is asked has the setting {name}; {cure}")


# ---- what is asked about --------------------------------------------------------------------------------


def _pictures(data: str | Path | PictureSet, arguments: Mapping[str, Any]) -> PictureSet:
    from keepsight.tasks import set_of

    return set_of(data, **arguments)


def _count(pictures: PictureSet, split: str) -> int | None:
    """How many pictures a split holds; None where it is drawn as long as one likes."""
    from keepsight.data.labelled import LabelledSet

    return pictures.count(split) if isinstance(pictures, LabelledSet) else None


def _baseline(clip: Any, model: VLM, device: str | None) -> ClipModel | None:
    from keepsight import models
    from keepsight.models.clip import ClipModel

    if clip == "auto":
        clip = "tiny" if model.name.partition("+")[0] == _TRAINED_HERE else None
    if clip is None or clip == "none":
        return None
    found = models.load_embedder(clip, device=device)
    if not isinstance(found, ClipModel):
        raise KeepsightError(f"--clip {clip} is no CLIP: it sees no pictures; give clip:PATH, tiny or none")
    return found
