"""The verb `tune --sequence`: one model tuned on a sequence of tasks, all of them asked after every stage.

Source of the protocol: CoIN (arXiv:2403.08350). The rows of the matrix are the base and one checkpoint per stage, the
columns what every stage teaches and whatever else is asked.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keepsight.data.coin import ORDER
from keepsight.data.sequences import SequenceSpec, StageSpec, in_order, read_sequence
from keepsight.errors import UsageError
from keepsight.evaluate import Limit, Progress, evaluate_all, rescored, select
from keepsight.judging import Judges
from keepsight.ranks import Ranks, join
from keepsight.refs import on_base, row_names
from keepsight.scoring.forgetting import forgetting
from keepsight.store import Store, load_matrix, require_place, write_matrix
from keepsight.tasks.coin_drawn import DRAWN_NAMES
from keepsight.types import KeepsightError, ResultMatrix, Run, Sample, Task
from keepsight.verbs import DEFAULT_JUDGES, OUTPUT_PATH, load_models, prepared_tasks, training_rows

if TYPE_CHECKING:
    from keepsight.models import HFModel
    from keepsight.tune.config import SFTConfig
    from keepsight.tune.methods import Method, Stage
    from keepsight.tune.progress import TrainProgress
    from keepsight.tune.sequence import FinishedStage, Keep

__all__ = ["SEQUENCES", "TunedSequence", "sequence_of", "tune_sequence"]

# Sequences that need no file: the tasks' names, in the order of CoIN's section 5.1.
SEQUENCES: dict[str, tuple[str, ...]] = {
    "coin": tuple(f"coin:{name}" for name in ORDER),
    "coin_drawn": DRAWN_NAMES,
}

_GATES_OF = 32  # samples of each task whose gates are counted


@dataclass(frozen=True)
class TunedSequence:
    """The finished stages, the audit of base and stages, and a line per row that could not be learnt.

    `notes` say what became of a wish that was not fulfilled to the letter.
    """

    stages: Sequence[FinishedStage]
    matrix: ResultMatrix
    left_out: Sequence[str] = ()
    notes: Sequence[str] = ()


def tune_sequence(
    ref: Any,
    sequence: str | Path | SequenceSpec,
    output_path: str | Path = OUTPUT_PATH,
    *,
    method: str = "lora+sequential",
    method_args: Mapping[str, Any] | None = None,
    order: str | None = None,
    keep: Keep = "all",
    tasks: Sequence[str | Task] = (),
    task_args: Mapping[str, Any] | None = None,
    judges: Sequence[str] = DEFAULT_JUDGES,
    llm_judge: Any = None,
    judge_args: Mapping[str, Any] | None = None,
    embedder: Any = "tiny",
    limit: Limit = None,
    batch_size: int | None = None,
    fail_on_error: bool | float | None = True,
    device: str | None = None,
    dtype: str | None = None,
    report: bool = True,
    learning: Callable[[TrainProgress], None] | None = None,
    asking: Progress | None = None,
    **config: Any,
) -> TunedSequence:
    """Tunes a model on a sequence and audits all tasks after every stage. Running again resumes both.

    Args:
        ref: the base, for `keepsight.models.load`.
        sequence: a YAML file (`keepsight.data.sequences`), a name of `SEQUENCES`, or a spec.
        output_path: `stages/`, the runs, `matrix.json`, and `forgetting.html` if `report`.
        method: what is trained and what is done against forgetting: `PART`, `METHOD` or `PART+METHOD`.
        method_args: fields of the method, e.g. `{"share": 0.1}`.
        order: see `keepsight.data.sequences.in_order`.
        keep: see `keepsight.tune.sequence.KEEP`.
        tasks: asked besides the stages' own.
        task_args: for every stage's task that has such a setting, e.g. `{"instruction": "type2", "volume": 0.4}`.
        judges, llm_judge, judge_args, embedder, limit, batch_size: of the audits, as for `keepsight.verbs.audit`.
        fail_on_error: of the rows that are learnt, as for `keepsight.verbs.fine_tune`.
        learning: called after every optimiser step.
        asking: called as `(what, done, total)` within the audit of a stage.
        config: fields of `keepsight.tune.config.SFTConfig`; `method` above decides what is trained.

    Raises:
        KeepsightError: an unreadable sequence, data or model.
        UsageError: an unknown method, order or setting.
    """
    from keepsight.tune.config import SFTConfig
    from keepsight.tune.naming import named_method
    from keepsight.tune.sequence import run_sequence

    part, continual = named_method(method, method_args)
    settings = SFTConfig(**{**config, "method": part})
    require_place(Path(output_path))
    spec = sequence_of(sequence)
    spec = in_order(spec, order) if order else spec
    stage_settings = _own_settings(spec, sequence, settings, continual)
    model = _trainable(ref, device, dtype)
    chosen, unseen = _tasks_of(spec, task_args or {}, [*spec.tasks, *tasks])
    stages, left_out = _stages(spec, chosen, task_args or {}, Path(output_path), fail_on_error)
    store, asked = Store(output_path), Judges(judges, llm_judge, embedder, judge_args)
    asked_tasks = prepared_tasks([*chosen, *unseen, *spec.tasks, *tasks], None, None, asked, store)
    names = [task.name for task in asked_tasks]
    if twice := [name for name in names if names.count(name) > 1]:
        own = twice[0].startswith("rows:")
        cure = "give each stage a name of its own (name: ...)" if own else "leave one of them out"
        raise KeepsightError(f"two tasks are named {twice[0]!r}; {cure}")
    audit = _Audit(
        ref,
        device,
        dtype,
        store,
        join(cpu=device == "cpu"),
        asked_tasks,
        {"stages": [stage.name for stage in spec.stages], "method": continual.name, "trained": part},
        limit,
        batch_size,
        asking,
        report,
    )
    finished = run_sequence(
        model,
        stages,
        settings,
        output_path,
        method=continual,
        stage_settings=stage_settings,
        keep=keep,
        on_stage=audit.ask,
        progress=learning,
    )
    return TunedSequence(finished, audit.matrix(), left_out, _notes(spec, continual, keep))


def _notes(spec: SequenceSpec, method: Method, keep: Keep) -> list[str]:
    notes = []
    if spec.unlearnt:
        names = ", ".join(stage.name for stage in spec.unlearnt)
        notes.append(f"not in the order, so not learnt but asked: {names}")
    if keep != "all" and method.keeps_stages:
        notes.append(
            f"{method.name} answers with what every stage has learnt: --keep {keep} leaves the last epoch of each"
        )
    return notes


def sequence_of(sequence: str | Path | SequenceSpec) -> SequenceSpec:
    """The spec of a name of `SEQUENCES` or of a YAML file."""
    from keepsight.tasks import available

    if isinstance(sequence, SequenceSpec):
        return sequence
    if str(sequence) in SEQUENCES:
        names = SEQUENCES[str(sequence)]
        return SequenceSpec(tuple(StageSpec(name.rpartition(":")[2], name) for name in names))
    if not os.path.isfile(Path(sequence).expanduser()):
        raise KeepsightError(
            f"no sequence {sequence}: give a YAML file with stages, or {' or '.join(SEQUENCES)}"
        )
    return read_sequence(sequence, {task.name for task in available()})


def _own_settings(
    spec: SequenceSpec, sequence: Any, shared: SFTConfig, method: Method
) -> dict[str, Mapping[str, Any]]:
    """Stage name -> its own settings. Raises KeepsightError, with the file and the stage, if it cannot be tuned with them."""
    from keepsight.tune.sequence import stage_configs

    own = {stage.name: stage.config for stage in spec.stages}
    try:
        stage_configs(shared, own, method)
    except KeepsightError as error:
        if isinstance(sequence, SequenceSpec):
            raise
        raise KeepsightError(f"sequence {sequence}: {error}") from error
    return own


def _trainable(ref: Any, device: str | None, dtype: str | None) -> HFModel:
    from keepsight.models import HFModel

    (model,) = load_models([ref], device, dtype, None)
    if not isinstance(model, HFModel) or not isinstance(ref, (str, Path)):
        raise KeepsightError(f"{model.name} has no weights to tune; give tiny or hf:PATH-OR-HUB-ID")
    return model


def _tasks_of(
    spec: SequenceSpec, shared: Mapping[str, Any], others: Sequence[str | Task]
) -> tuple[list[Task], list[Task]]:
    """The task of every stage, and of every one that is not learnt, unless it is among those that are asked besides.

    Of the shared settings each gets those that it has.
    """
    from keepsight import tasks

    for key in shared:
        if not any(tasks.takes(stage.task, key) for stage in (*spec.stages, *spec.unlearnt)):
            raise UsageError(f"no task of the sequence has a setting {key!r}; leave it out of task_args")
    learnt = [_task_of(stage, shared, lambda row: None) for stage in spec.stages]  # `_rows` tells bad ones
    return learnt, [_task_of(stage, shared) for stage in spec.unlearnt if stage.task not in others]


def _task_of(
    stage: StageSpec, shared: Mapping[str, Any], on_bad_row: Callable[[str], None] | None = None
) -> Task:
    """What asks a stage. `on_bad_row`: of rows of one's own of which some are held out, see `keepsight.tasks.rows`."""
    from keepsight import tasks

    given = {
        **{key: value for key, value in shared.items() if tasks.takes(stage.task, key)},
        **stage.task_args,
    }
    if stage.image_folder is not None and tasks.takes(stage.task, "image_folder"):
        given.setdefault("image_folder", stage.image_folder)
    own = stage.task.startswith("rows:")
    if own and stage.data is not None:
        given.setdefault("split", "all")  # a file of its own holds nothing that is learnt
    elif own:
        given["on_bad_row"] = on_bad_row
    task = tasks.get(stage.task, **given)
    # One's own files are often called alike: train.json of this folder and of that one.
    return replace(task, name=f"rows:{stage.name}") if own else task


def _stages(
    spec: SequenceSpec,
    tasks: Sequence[Task],
    shared: Mapping[str, Any],
    output: Path,
    fail_on_error: bool | float | None,
) -> tuple[list[Stage], list[str]]:
    """What is learnt in every stage, and a line on every row that is left out."""
    from keepsight.tune.left_out import usable_samples
    from keepsight.tune.methods import Stage
    from keepsight.tune.sequence import stage_directory

    stages, left_out = [], []
    for number, (stage, task) in enumerate(zip(spec.stages, tasks, strict=True), 1):
        rows, bad = _rows(stage, task, shared)
        made = Stage(stage.name, rows, task.name, number=number, count=len(spec.stages))
        good, bad = usable_samples(rows, bad, stage_directory(output, made), fail_on_error)
        stages.append(replace(made, samples=good))
        left_out += bad
    return stages, left_out


def _rows(stage: StageSpec, task: Task, shared: Mapping[str, Any]) -> tuple[list[Sample], list[str]]:
    if stage.data is not None:
        return training_rows(stage.data, stage.image_folder)
    bad: list[str] = []
    if stage.task.startswith("rows:"):
        task = _task_of(stage, shared, bad.append)
    if task.train is None:
        raise KeepsightError(
            f"stage {stage.name}: task {task.name} has no training split; give rows to learn as data"
        )
    return list(task.train()), bad


@dataclass
class _Audit:
    """Asks base and stages, and keeps the matrix: also of stages whose checkpoint is gone."""

    base: str | Path
    device: str | None
    dtype: str | None
    store: Store
    ranks: Ranks
    tasks: Sequence[Task]
    sequence: Mapping[str, Any]
    limit: Limit
    batch_size: int | None
    progress: Progress | None
    report: bool
    rows: list[str] = field(default_factory=list)
    runs: dict[tuple[str, str], Run] = field(default_factory=dict)
    tuned_on: dict[str, str] = field(default_factory=dict)
    failed: list[Mapping[str, str]] = field(default_factory=list)
    gates: dict[str, Any] = field(default_factory=dict)

    def ask(self, done: FinishedStage) -> float | None:
        """Asks the stage's checkpoint (and before the first one the base).

        Returns the mean score on what was learnt so far, or None if a task could not be asked.
        """
        if not self.rows:
            self._ask(row_names([self.base])[0], self.base)
        row = f"{done.stage.number}-{done.stage.name}"
        if done.stage.task is not None:
            self.tuned_on[row] = done.stage.task
        if os.path.isdir(done.checkpoint):
            self._ask(row, on_base(self.base, done.ref))
        else:
            self._remember(row)
        if self.sequence["trained"] == "moelora":
            self.gates[row] = self.ranks.first(lambda: self._gates(done))
        matrix, last = self.matrix(), done.stage.number == done.stage.count
        self.ranks.first(lambda: self._write(matrix, last=last))
        if any((row, col) not in self.runs for col in matrix.cols):
            return None
        seen = [matrix[row, col].headline.value for col in self.tuned_on.values()]
        return sum(seen) / len(seen) if seen else 0.0

    def matrix(self) -> ResultMatrix:
        """What is known so far."""
        cols = tuple(task.name for task in self.tasks)
        meta = {"tuned_on": dict(self.tuned_on), "sequence": dict(self.sequence)}
        further: dict[str, Any] = {"gates": dict(self.gates), "failed": list(self.failed)}
        meta |= {name: value for name, value in further.items() if value}
        return ResultMatrix(tuple(self.rows), cols, dict(self.runs), meta)

    def _ask(self, row: str, ref: Any) -> None:
        models = load_models([ref], self.device, self.dtype, None)
        asked = evaluate_all(
            models,
            self.tasks,
            self.store,
            rows=[row],
            limit=self.limit,
            batch_size=self.batch_size,
            progress=self.progress,
            ranks=self.ranks,
        )
        self.rows.append(row)
        self.runs.update(asked.runs)
        self.failed += asked.meta.get("failed", [])

    def _gates(self, done: FinishedStage) -> dict[str, Any]:
        """Task -> which experts its prompts were given to, counted once per stage."""
        from keepsight.models.gates import GATES_FILE, read_gates, write_gates

        path = done.directory / GATES_FILE
        uses = {use.task: use for use in read_gates(path)} if os.path.exists(path) else {}
        missing = [task for task in self.tasks if task.name not in uses]
        if missing and os.path.isdir(done.checkpoint):
            model: Any = load_models([on_base(self.base, done.checkpoint)], self.device, self.dtype, None)[0]
            for task in missing:
                looked_at = select(task.test(), self.limit)[:_GATES_OF]
                uses[task.name] = model.gates(looked_at, task=task.name, batch_size=self.batch_size)
            write_gates(path, list(uses.values()))
        return {
            task: {
                "layers": list(use.layers),
                "mean": [list(row) for row in use.mean_gate],
                "entropy": list(use.entropy),
            }
            for task, use in uses.items()
        }

    @cached_property
    def _before(self) -> ResultMatrix | None:
        """What an earlier call left; read before anything is written."""
        there = os.path.exists(self.store.root / "matrix.json")
        return load_matrix(self.store.root) if there else None

    def _remember(self, row: str) -> None:
        """The runs of a stage whose checkpoint is gone, as the matrix on the disk had them, scored as the others are."""
        before = self._before.runs if self._before is not None else {}
        known = {task.name: before.get((row, task.name)) for task in self.tasks}
        if missing := [col for col, run in known.items() if run is None]:
            raise KeepsightError(
                f"stage {row} was not asked {missing[0]} before its checkpoint was removed; ask the tasks it was asked, "
                "or start anew with --keep all"
            )
        self.rows.append(row)
        for task in self.tasks:
            if run := known[task.name]:
                self.runs[row, task.name] = rescored(run, task, self.store, ranks=self.ranks)

    def _write(self, matrix: ResultMatrix, *, last: bool) -> None:
        """Not before the last stage over what an earlier call knew of further ones: their checkpoints may be gone."""
        further = self._before is not None and not set(self._before.rows) <= set(matrix.rows)
        if not matrix.runs or (further and not last):
            return
        write_matrix(matrix, forgetting(matrix), self.store.root)
        if self.report:
            matrix.report(self.store.root / "forgetting.html")
