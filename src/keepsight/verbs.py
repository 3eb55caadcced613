"""What a user does, on refs and names: the functions behind the command line, for scripts and notebooks.

`evaluate` and `tune` are rooms of the house, so the verbs are called `evaluate_tasks` and `fine_tune` here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, asdict, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keepsight.errors import UsageError
from keepsight.evaluate import Limit, Progress, evaluate_all, select, unanswered
from keepsight.evaluate import audit as audit_models
from keepsight.evaluate import rescore as rescore_run
from keepsight.judging import NEED_LABELS, Judges
from keepsight.ranks import Ranks, join
from keepsight.refs import checkpoint_refs, row_names
from keepsight.store import Store, load_run, load_runs, require_place
from keepsight.store.matrix import plain
from keepsight.types import VLM, KeepsightError, ResultMatrix, Run, Sample, Task

if TYPE_CHECKING:
    from keepsight.scoring.forgetting import Drop
    from keepsight.scoring.tables import AnswerFlow, ClassChange
    from keepsight.tune.progress import TrainProgress

__all__ = [
    "OUTPUT_PATH",
    "Comparison",
    "Planned",
    "Tuned",
    "audit",
    "compare",
    "evaluate_tasks",
    "fine_tune",
    "load_models",
    "plan",
    "prepared_tasks",
    "rendered_prompts",
    "rescore",
    "training_rows",
]

OUTPUT_PATH = "keepsight-out"
DEFAULT_JUDGES = ("label", "embedding", "taxonomy")


def audit(
    refs: Sequence[Any],
    tasks: Sequence[str | Task],
    output_path: str | Path = OUTPUT_PATH,
    *,
    judges: Sequence[str] = DEFAULT_JUDGES,
    llm_judge: Any = None,
    judge_args: Mapping[str, Any] | None = None,
    embedder: Any = "tiny",
    limit: Limit = None,
    batch_size: int | None = None,
    device: str | None = None,
    dtype: str | None = None,
    model_args: Mapping[str, Any] | None = None,
    gen_kwargs: Mapping[str, Any] | None = None,
    task_args: Mapping[str, Any] | None = None,
    tuned_on: str | Mapping[str, str] | None = None,
    fail_on_error: bool | float | None = None,
    report: bool = True,
    progress: Progress | None = None,
    ranks: Ranks | None = None,
) -> ResultMatrix:
    """Asks a base model and its checkpoints the same tasks and says what was forgotten. Running again resumes.

    Writes runs, pictures and `matrix.json` below `output_path`, and `forgetting.html` if `report`. When no cell at all
    could be answered, the matrix and the page of an earlier audit stay as they are.

    Args:
        refs: the base first, then checkpoints in training order: whatever `keepsight.models.load` takes. A checkpoint
            directory without a base in front is put on the base; a directory of `epoch-1`, `epoch-2`, ... stands for
            these.
        tasks: names for `keepsight.tasks.get`, or Task objects.
        task_args: for every named task that has such a setting, e.g. `{"split": "train", "share": 0.2}`.
        judges: scorers of a classification task: label, embedding, taxonomy, llm, verdict; and of any task:
            general_knowledge, semantic.
        llm_judge: the model that llm, verdict and general_knowledge ask, or a list of them for general_knowledge; giving
            one and naming none of these adds llm.
        judge_args: settings of verdict and general_knowledge, e.g. `{"repeats": 3, "temperature": 0.7}`, and of the
            embedding judge, e.g. `{"embedding.margin": 0.1}`.
        embedder: the text embedder of the embedding judge.
        limit, batch_size, fail_on_error, progress: as for `keepsight.evaluate.evaluate_all`.
        device, dtype, model_args: as for `keepsight.models.load`.
        gen_kwargs: replace settings of a task's inference, e.g. `{"max_new_tokens": 64}`.
        tuned_on: the task that the checkpoints were tuned on, or row -> task.
        ranks: the processes that share the work; by default those that a launcher started together with this one. All
            of them call this. `keepsight.ranks.ALONE` is for a call that only one of several processes makes.

    Raises:
        KeepsightError: an unknown ref, task or judge, a device that is not there, or a checkpoint of another base. A
            cell that fails later is in `meta["failed"]`.
    """
    require_place(Path(output_path))
    ranks = join(cpu=device == "cpu") if ranks is None else ranks
    refs = checkpoint_refs(refs)
    rows = row_names(refs)
    models = load_models(refs, device, dtype, model_args)
    store = Store(output_path)
    asked = Judges(judges, llm_judge, embedder, judge_args)
    chosen = prepared_tasks(tasks, task_args, gen_kwargs, asked, store)
    matrix = audit_models(
        models,
        chosen,
        store,
        rows=rows,
        meta=_tuned_on(tuned_on, rows, tasks, chosen),
        limit=limit,
        batch_size=batch_size,
        progress=progress,
        fail_on_error=fail_on_error,
        ranks=ranks,
    )
    if report:
        ranks.first(lambda: str(matrix.report(store.root / "forgetting.html")) if matrix.runs else None)
    return matrix


def evaluate_tasks(
    ref: Any,
    tasks: Sequence[str | Task],
    output_path: str | Path = OUTPUT_PATH,
    *,
    judges: Sequence[str] = DEFAULT_JUDGES,
    llm_judge: Any = None,
    judge_args: Mapping[str, Any] | None = None,
    embedder: Any = "tiny",
    limit: Limit = None,
    batch_size: int | None = None,
    device: str | None = None,
    dtype: str | None = None,
    model_args: Mapping[str, Any] | None = None,
    gen_kwargs: Mapping[str, Any] | None = None,
    task_args: Mapping[str, Any] | None = None,
    fail_on_error: bool | float | None = None,
    progress: Progress | None = None,
    ranks: Ranks | None = None,
) -> ResultMatrix:
    """Asks one model; arguments as for `audit`. The runs are those that an audit of the model would use.

    Returns a matrix of one row; no matrix.json is written.
    """
    require_place(Path(output_path))
    ranks = join(cpu=device == "cpu") if ranks is None else ranks
    models = load_models([ref], device, dtype, model_args)
    store = Store(output_path)
    return evaluate_all(
        models,
        prepared_tasks(tasks, task_args, gen_kwargs, Judges(judges, llm_judge, embedder, judge_args), store),
        store,
        rows=row_names([ref]),
        limit=limit,
        batch_size=batch_size,
        progress=progress,
        fail_on_error=fail_on_error,
        ranks=ranks,
    )


@dataclass(frozen=True)
class Planned:
    """One cell of an audit before it is run. `seconds` is None as long as nothing was asked in this store.

    Of a served model `tokens` is an estimate (see `keepsight.models.api.Estimate`), and `cost`, if prices were given.
    """

    row: str
    col: str
    asked: int
    total: int
    seconds: float | None
    requests: int  # `asked`, or more where a sample is an episode: what these take at most
    tokens: int | None = None
    cost: float | None = None


def plan(
    refs: Sequence[Any],
    tasks: Sequence[str | Task],
    output_path: str | Path = OUTPUT_PATH,
    *,
    limit: Limit = None,
    device: str | None = None,
    dtype: str | None = None,
    model_args: Mapping[str, Any] | None = None,
    gen_kwargs: Mapping[str, Any] | None = None,
    task_args: Mapping[str, Any] | None = None,
) -> list[Planned]:
    """How much an audit would ask now; arguments as for `audit`. No weights are loaded and nothing is written."""
    refs = checkpoint_refs(refs)
    models = load_models(refs, device, dtype, model_args)
    store = Store(output_path)
    planned = []
    for task in [_asked_with(task, gen_kwargs or {}) for task in _tasks(tasks, task_args)]:
        pace = store.seconds_per_answer(task.name)
        total = len(select(task.test(), limit))
        for row, model in zip(row_names(refs), models):
            asked = unanswered(model, task, store, limit=limit)
            seconds = None if pace is None else len(asked) * pace
            often = getattr(task.infer, "questions_per_sample", 1)
            price = _price(model, task, asked, often)
            planned.append(Planned(row, task.name, len(asked), total, seconds, often * len(asked), *price))
    return planned


def _price(model: VLM, task: Task, samples: Sequence[Sample], often: int) -> tuple[int | None, float | None]:
    """Tokens and money that asking a served model each of `samples` so `often` would take."""
    from keepsight.models import ServedModel

    new_tokens = task.infer.settings.get("max_new_tokens")
    if not isinstance(model, ServedModel) or not isinstance(new_tokens, int):
        return None, None
    estimate = model.estimate(samples, max_new_tokens=new_tokens)
    return often * estimate.usage.total, None if estimate.cost is None else often * estimate.cost


def rendered_prompts(
    ref: Any,
    n: int,
    tasks: Sequence[str | Task],
    *,
    limit: Limit = None,
    device: str | None = None,
    dtype: str | None = None,
    model_args: Mapping[str, Any] | None = None,
    gen_kwargs: Mapping[str, Any] | None = None,
    task_args: Mapping[str, Any] | None = None,
) -> list[str]:
    """The first `n` prompts of every task, through the model's chat template if it has one."""
    from keepsight.models.prompts import render

    (model,) = load_models([ref], device, dtype, model_args)
    samples = [sample for task in _tasks(tasks, task_args) for sample in select(task.test(), limit)[:n]]
    if not hasattr(model, "processor"):
        return [sample.prompt for sample in samples]
    return [render(model.processor, sample) for sample in samples]


@dataclass(frozen=True)
class Comparison:
    """Two runs of one task: the paired difference, class by class, and which answers became which."""

    before: Run
    after: Run
    drop: Drop
    classes: Sequence[ClassChange]  # empty where every target is one of its own, as in captions
    flow: Sequence[AnswerFlow]
    only_before: int  # samples that the other run was not asked
    only_after: int
    unscored: int  # samples of both runs that one of them has no score for

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as `keepsight compare --json` prints it; `drop` as in matrix.json."""
        told = {
            "before": str(self.before.path),
            "after": str(self.after.path),
            "drop": asdict(self.drop),
            "classes": [asdict(change) for change in self.classes],
            "flow": [asdict(flow) for flow in self.flow],
            "only_before": self.only_before,
            "only_after": self.only_after,
            "unscored": self.unscored,
        }
        return dict(plain(told))


def compare(before: Run | str | Path, after: Run | str | Path, *, scorer: str | None = None) -> Comparison:
    """Compares two runs of one task on the samples that both scored.

    Args:
        scorer: whose scores; by default the headline scorer's.

    Raises:
        KeepsightError: the runs are of different tasks, share no scored samples, asked different questions under one
            id, or were scored by different rules.
    """
    from keepsight.report.changes import has_classes
    from keepsight.scoring.forgetting import forgetting, pair_runs
    from keepsight.scoring.tables import answer_flow, per_class

    first, second = (
        _read_by(run if isinstance(run, Run) else load_run(run), scorer) for run in (before, after)
    )
    task, other = first.manifest["task"], second.manifest["task"]
    if task != other:
        raise KeepsightError(
            f"{first.path} is a run of {task}, {second.path} one of {other}; compare runs of one task"
        )
    pair_runs(first, second)  # says why, where forgetting would only mark the cell
    rows = ("before", "after")
    (drop,) = forgetting(ResultMatrix(rows, (task,), {(rows[0], task): first, (rows[1], task): second}))
    if not drop.n:
        raise KeepsightError(
            f"{first.path} and {second.path} have no scored sample in common; use the same limit"
        )
    asked = [{record.sample.id for record in run.records} for run in (first, second)]
    only = len(asked[0] - asked[1]), len(asked[1] - asked[0])
    return Comparison(
        first,
        second,
        drop,
        per_class(first, second) if has_classes(first) else (),
        answer_flow(first, second),
        *only,
        unscored=drop.unpaired - sum(only),
    )


def _read_by(run: Run, scorer: str | None) -> Run:
    """The run with `scorer` as its headline."""
    if scorer is None:
        return run
    known = run.manifest["scorers"]
    if scorer not in known:
        raise KeepsightError(f"{run.path} has no scores by {scorer!r}; it has {', '.join(known)}")
    return replace(run, manifest={**run.manifest, "scorer": scorer})


def rescore(
    runs: Sequence[Run | str | Path],
    judges: Sequence[str],
    *,
    llm_judge: Any = None,
    judge_args: Mapping[str, Any] | None = None,
    embedder: Any = "tiny",
) -> list[Run]:
    """Lets further judges score finished runs; nothing is generated.

    Args:
        runs: runs, their directories, or directories of audits, which stand for all of their runs.
        judges: names, or `file.py:function` that returns a scorer. Those that match labels need a task with labels.

    Raises:
        KeepsightError: a run is not finished, or its task has no labels and the judge needs them.
    """
    asked = Judges(judges, llm_judge, embedder, judge_args)
    stores: dict[Path, Store] = {}
    scored = []
    for run in load_runs(runs):
        labels = tuple(run.manifest["labels"])
        if run.path is None:
            raise KeepsightError("a run that was made by hand lies nowhere; load one with load_run")
        root = run.path.parents[2]
        store = stores.setdefault(root.resolve(), Store(root))
        for name in asked.names:
            if not labels and name in NEED_LABELS:
                raise KeepsightError(
                    f"run {run.path} has no label set, which judge {name} matches; use llm or file.py:function"
                )
            run = rescore_run(run, asked.build(name, labels, store), store)
        scored.append(run)
    return scored


@dataclass(frozen=True)
class Tuned:
    """The checkpoints of a fine-tune, one per epoch, and the audit of base and checkpoints if one was asked for."""

    checkpoints: Sequence[Path]
    matrix: ResultMatrix | None
    left_out: Sequence[str] = ()  # one line per row that could not be learnt


def fine_tune(
    ref: Any,
    data: str | Path,
    output_path: str | Path = OUTPUT_PATH,
    *,
    image_folder: str | Path | None = None,
    remote_images: bool = False,
    fail_on_error: bool | float | None = True,
    method: str = "linear",
    method_args: Mapping[str, Any] | None = None,
    tasks: Sequence[str | Task] = (),
    task_args: Mapping[str, Any] | None = None,
    judges: Sequence[str] = DEFAULT_JUDGES,
    llm_judge: Any = None,
    judge_args: Mapping[str, Any] | None = None,
    embedder: Any = "tiny",
    limit: Limit = None,
    batch_size: int | None = None,
    device: str | None = None,
    dtype: str | None = None,
    progress: Callable[[TrainProgress], None] | None = None,
    asking: Progress | None = None,
    **config: Any,
) -> Tuned:
    """Tunes a model and audits it at every epoch. Running again resumes both.

    Args:
        ref: the base, for `keepsight.models.load`.
        data: rows in LLaVA's form or as messages (`keepsight.data.messages`), or the name of a task whose training
            split is learnt.
        output_path: `epoch-1`, `epoch-2`, ... and, if there are tasks, an audit's files.
        image_folder: where the rows' pictures lie (default: beside them).
        remote_images: fetch pictures that rows give as http(s) addresses.
        fail_on_error: stop before anything is learnt when so many rows cannot be used: True at the first, a share or
            a count; False leaves them out and names them in `left_out` and in `left_out.jsonl`.
        method: what is trained, and after a plus sign what is done against forgetting: `lora`, `lora+lwf`.
        method_args: fields of the continual method, e.g. `{"strength": 0.5}`.
        tasks: what is audited at every epoch; nothing by default.
        task_args, judges, llm_judge, judge_args, embedder, limit, batch_size: of the audits, as for `audit`.
        progress: called after every optimiser step.
        asking: called as `(what, done, total)` within the audit of an epoch.
        config: fields of `keepsight.tune.config.SFTConfig`.

    Raises:
        KeepsightError: unreadable data, or a setting that makes no sense.
        UsageError: a limit without tasks to audit.
    """
    from keepsight import models
    from keepsight.tune.left_out import usable_samples
    from keepsight.tune.naming import named_method
    from keepsight.tune.sft import SFTConfig, sft

    part, continual = named_method(method, method_args)
    if limit is not None and not tasks:
        raise UsageError(
            "limit is of the audits, and no tasks to audit are given; name some (--tasks), or leave limit out: "
            "all rows of data are learnt"
        )
    require_place(Path(output_path))
    model = models.load(ref, device=device, dtype=dtype)
    if not isinstance(model, models.HFModel):
        raise KeepsightError(f"{model.name} has no weights to tune; give tiny or hf:PATH-OR-HUB-ID")
    model.require_usable()
    rows, bad_rows, learnt = _training_samples(data, image_folder, remote_images)
    samples, left_out = usable_samples(rows, bad_rows, Path(output_path), fail_on_error)
    names = [task.name for task in _tasks(tasks, task_args)]
    matrix: ResultMatrix | None = None
    made: list[Path] = []

    def audit_epoch(checkpoint: Path, epoch: int) -> None:
        nonlocal matrix
        made.append(checkpoint)
        if tasks:
            matrix = audit(
                [ref, *made],
                tasks,
                output_path,
                task_args=task_args,
                judges=judges,
                llm_judge=llm_judge,
                judge_args=judge_args,
                embedder=embedder,
                limit=limit,
                batch_size=batch_size,
                device=device,
                dtype=dtype,
                tuned_on=learnt if learnt in names else None,
                progress=asking,
            )

    checkpoints = sft(
        model,
        samples,
        SFTConfig(method=part, **config),
        output_path,
        method=continual,
        on_epoch=audit_epoch,
        progress=progress,
    )
    return Tuned(checkpoints, matrix, left_out)


def training_rows(
    data: str | Path, image_folder: str | Path | None = None, remote_images: bool = False
) -> tuple[list[Sample], list[str]]:
    """Rows of a file that are learnt, and a line on every bad one."""
    from keepsight.data.messages import read_training_rows
    from keepsight.data.remote import RemotePictures

    bad: list[str] = []
    remote = RemotePictures() if remote_images else None
    return read_training_rows(data, image_folder, remote=remote, on_bad_row=bad.append), bad


def _training_samples(
    data: str | Path, image_folder: str | Path | None, remote_images: bool
) -> tuple[list[Sample], list[str], str]:
    """What is learnt, a line on every bad row, and the task it comes from if it comes from one."""
    _require_rows(str(data))
    if os.path.exists(data):
        return *training_rows(data, image_folder, remote_images), ""
    (task,) = _tasks([str(data)])
    if task.train is None:
        raise KeepsightError(f"task {task.name} has no training split; give rows to learn as data")
    return list(task.train()), [], task.name


def _require_rows(data: str) -> None:
    """Says what to write instead of pictures given as rows, or of a file that is not there."""
    from keepsight.data.readers import is_class_folder

    path = Path(data)
    if os.path.isdir(path) and is_class_folder(path):
        raise KeepsightError(f"data {data} is a folder of class folders, not rows to learn; write emt:{data}")
    if not os.path.exists(path) and path.suffix in (".json", ".jsonl", ".parquet"):
        raise KeepsightError(
            f"data {data}: no such file; give rows in LLaVA's form or as messages, or a task such as emt:FOLDER"
        )


def load_models(
    refs: Sequence[Any], device: str | None, dtype: str | None, model_args: Mapping[str, Any] | None
) -> list[VLM]:
    """The models; `device` and `dtype` may also stand among the model's arguments, where lm-eval's users put them."""
    from keepsight import models

    given = {name: value for name, value in (("device", device), ("dtype", dtype)) if value is not None}
    arguments = models.shared_limits(model_args or {})
    loaded = [models.load(ref, **{**arguments, **given}) for ref in refs]
    idle = sorted(set(model_args or {}) & models.api.served_arguments())
    if idle and not any(isinstance(model, models.ServedModel) for model in loaded):
        raise UsageError(
            f"model argument {idle[0]} is for served models, and there is none (api:MODEL@BASE_URL)"
        )
    for model in loaded:
        if isinstance(model, models.HFModel):
            model.require_usable()
    return loaded


def prepared_tasks(
    tasks: Sequence[str | Task],
    task_args: Mapping[str, Any] | None,
    gen_kwargs: Mapping[str, Any] | None,
    judges: Judges,
    store: Store,
) -> list[Task]:
    """The tasks, each with the others' labels as foreign ones, the decoding settings and the judges asked for."""
    from keepsight.tasks.emt import with_foreign_labels

    chosen = with_foreign_labels(_tasks(tasks, task_args))
    return [judges.of(_asked_with(task, gen_kwargs or {}), store) for task in chosen]


def _tasks(chosen: Sequence[str | Task], arguments: Mapping[str, Any] | None = None) -> list[Task]:
    """The tasks that are named are made; of the arguments each gets those that it has."""
    from keepsight import tasks

    named = [task for task in chosen if isinstance(task, str)]
    given = iter(tasks.shared(named, arguments or {}))
    return [tasks.get(task, **next(given)) if isinstance(task, str) else task for task in chosen]


def _asked_with(task: Task, gen_kwargs: Mapping[str, Any]) -> Task:
    if not gen_kwargs:
        return task
    infer = task.infer
    given: tuple[Field[Any], ...] = fields(infer) if is_dataclass(infer) else ()
    known = {field.name for field in given if field.metadata.get("gen_kwargs", True)}
    if unknown := sorted(set(gen_kwargs) - known):
        choice = ", ".join(sorted(known)) or "nothing"
        raise UsageError(f"task {task.name} has no setting {unknown[0]!r}; gen_kwargs can set {choice}")
    return replace(task, infer=replace(infer, **gen_kwargs))  # type: ignore[type-var]


def _tuned_on(
    given: str | Mapping[str, str] | None,
    rows: Sequence[str],
    asked: Sequence[str | Task],
    tasks: Sequence[Task],
) -> dict[str, Any]:
    """Row -> column, in the matrix's words: a task may be named as it was asked for (`emt:data/birds` is `emt:birds`)."""
    if not given:
        return {}
    names = [task.name for task in tasks]
    called = {name: task.name for name, task in zip(asked, tasks) if isinstance(name, str)}
    mapping = dict.fromkeys(rows[1:], given) if isinstance(given, str) else dict(given)
    mapping = {row: called.get(col, col) for row, col in mapping.items()}
    if missing := [col for col in mapping.values() if col not in names]:
        raise UsageError(
            f"tuned_on names {missing[0]!r}, which is not audited; choose from {', '.join(names)}"
        )
    if wrong := [row for row in mapping if row not in rows]:
        raise KeepsightError(f"tuned_on names the checkpoint {wrong[0]!r}; the rows are {', '.join(rows)}")
    return {"tuned_on": mapping}
