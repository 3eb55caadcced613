"""Audits inside somebody else's training loop: a callback for Hugging Face's Trainer and the trainers built on it (TRL).

At the end of every epoch, or every so many steps, the model in training is asked a small suite and compared with what it
was before. Training goes on as if nothing had been asked: modes, gradients' flags, random streams and whatever the model
keeps between two forward passes are put back, so that the weights come out bit for bit the same.

This module imports transformers, which its users have imported already; `keepsight.ForgettingCallback` is looked up late.
"""

from __future__ import annotations

import copy
import logging
import math
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from transformers.trainer_callback import TrainerCallback

from keepsight import tasks as shelf
from keepsight.evaluate import Limit, evaluate_all
from keepsight.models import HFModel
from keepsight.models.sources import BuiltSource, state_digest
from keepsight.scoring.forgetting import Drop, forgetting, pair_runs
from keepsight.scoring.gate import hold_to
from keepsight.store import Store, load_matrix, write_matrix
from keepsight.tasks.emt import with_foreign_labels
from keepsight.types import KeepsightError, ResultMatrix, Task, digest_of

__all__ = ["ForgettingCallback", "trade_offs"]

BASE = "base"  # the row of the model before training
_log = logging.getLogger(__name__)


class ForgettingCallback(TrainerCallback):
    """Says at every epoch what the model in training has forgotten.

        callback = ks.ForgettingCallback(["emt:birds", "emt:digits"], "audit", tuned_on="emt:birds").attach(trainer)
        trainer.train()
        callback.matrix.report("forgetting.html")

    Runs and `matrix.json` lie below `output_path` like those of any audit. Of several processes the first one asks, and
    all of them stop together. A failed audit never ends the training; it is logged and stands in `matrix.meta["failed"]`.

    Args:
        tasks: names for `keepsight.tasks.get`, or Task objects: the suite.
        output_path: where the audit goes. A resumed training finds its earlier rows there.
        tuned_on: the task that is being learnt, one of `tasks`. Its rise is the gain; it is not counted as forgetting.
        every: "epoch", or a number of steps.
        limit: samples per task (see `keepsight.evaluate.select`); None asks them all.
        max_time_share: audits may take this share of the time since training began. When one more would take more, it is
            put off to a later epoch or step, and that is logged. The base and the end of training are always audited.
        max_forgetting: stop training when a task is shown to have lost more (0.02: two points of a share), by the
            corrected interval, for all looks at all tasks together.
        level: of intervals and of that evidence.
        processor: default: the trainer's `processing_class`.
        batch_size: samples asked at once.

    Raises:
        KeepsightError: an unknown task or setting; when training begins: no processor for pictures, or a model that is
            sharded over processes.
    """

    def __init__(
        self,
        tasks: Sequence[str | Task],
        output_path: str | Path = "keepsight-out",
        *,
        tuned_on: str | None = None,
        every: Literal["epoch"] | int = "epoch",
        limit: Limit = 40,
        max_time_share: float = 0.1,
        max_forgetting: float | None = None,
        level: float = 0.95,
        processor: Any = None,
        batch_size: int | None = None,
    ) -> None:
        chosen = [shelf.get(task) if isinstance(task, str) else task for task in tasks]
        self.tasks = with_foreign_labels(chosen)
        self.tuned_on = _column(tuned_on, tasks, self.tasks)
        if every != "epoch" and (not isinstance(every, int) or every < 1):
            raise KeepsightError(f'every is {every!r}; give "epoch" or a number of steps')
        if not 0 < max_time_share <= 1:
            raise KeepsightError(f"max_time_share is {max_time_share}; give a share of the time, such as 0.1")
        if max_forgetting is not None:
            hold_to(max_forgetting, [])  # complains now, not after the first epoch
        self.every = every
        self.limit = limit
        self.max_forgetting = max_forgetting
        self.level = level
        self.batch_size = batch_size
        self.matrix = ResultMatrix((), tuple(task.name for task in self.tasks), {})
        self._store = Store(output_path)
        self._budget = Budget(max_time_share)
        self._given_processor = processor
        self._tell: Callable[[dict[str, float]], None] | None = None

    def attach(self, trainer: Any) -> ForgettingCallback:
        """Joins the trainer and logs through it, so that its trackers (TensorBoard, W&B, ...) get the figures.

        A callback that was only handed to the trainer works, too, but its figures reach `log_history` alone: a callback
        is not told who calls it.
        """
        if not any(known is self for known in trainer.callback_handler.callbacks):
            trainer.add_callback(self)
        self._tell = trainer.log
        return self

    @property
    def best(self) -> str | None:
        """The row with the best trade-off so far (see `trade_offs`); None before the first audit."""
        return self.matrix.meta.get("best")

    # ---- what the trainer calls ----

    def on_train_begin(
        self, args: Any, state: Any, control: Any, *, model: Any, processing_class: Any = None, **_: Any
    ) -> None:
        """Audits the base, or takes up the rows of the training that is resumed."""
        _require_whole(model)
        if not state.is_world_process_zero:
            return
        self._processor = _own_processor(self._given_processor or processing_class)
        self._weights = Weights(model)
        self._budget.start()
        self.matrix = self._earlier_rows(state.global_step)
        if self.matrix.rows:
            self._check_resumed(model, state.global_step)
        else:
            row = f"step-{state.global_step}" if state.global_step else BASE
            if state.global_step:
                _log.warning(
                    "no audit of the base in %s: compared with step %d", self._store.root, state.global_step
                )
            self._audit(row, model, state, control)

    def on_epoch_end(self, args: Any, state: Any, control: Any, *, model: Any, **_: Any) -> None:
        """Audits the epoch, unless audits are counted in steps."""
        if self.every == "epoch":
            whole = math.isclose(state.epoch, round(state.epoch), abs_tol=1e-6)
            row = f"epoch-{round(state.epoch)}" if whole else f"step-{state.global_step}"
            self._at(row, args, state, control, model)

    def on_step_end(self, args: Any, state: Any, control: Any, *, model: Any, **_: Any) -> None:
        """Audits every so many steps, and the last one."""
        if self.every == "epoch":
            return
        if state.global_step % self.every == 0 or state.global_step == state.max_steps:
            self._at(f"step-{state.global_step}", args, state, control, model)

    # ---- how it is done ----

    def _at(self, row: str, args: Any, state: Any, control: Any, model: Any) -> None:
        """An audit may be due. Every process comes here at the same steps; the first one decides for all."""
        stop = False
        if state.is_world_process_zero and self._is_due(state):
            stop = self._audit(row, model, state, control)
        if _agreed(stop, args):
            control.should_training_stop = True

    def _is_due(self, state: Any) -> bool:
        if state.global_step >= state.max_steps or self._budget.allows():
            return True
        if self._budget.puts_off():
            _log.warning(
                "an audit takes %.1f s and audits have taken %.0f %% of the time, %.0f %% are allowed: the next comes in"
                " about %.0f s",
                self._budget.expected,
                100 * self._budget.share,
                100 * self._budget.max_share,
                self._budget.wait,
            )
        return False

    def _audit(self, row: str, model: Any, state: Any, control: Any) -> bool:
        """One more row; returns whether training must stop. Whatever goes wrong is told and costs the row alone."""
        with self._budget.measured():
            try:
                found = self._ask(row, model)
                self.matrix = self._with_row(found, state.global_step)
                drops = forgetting(self.matrix, level=self.level)
                self._mark(drops)
                write_matrix(self.matrix, drops, self._store.root)
                stop = self._is_beyond(row)
            except Exception:
                _log.exception("the audit of %s failed; training goes on", row)
                return False
        self._report(_figures(self.matrix, drops, row, self.tuned_on), state, control)
        if stop:
            _log.warning("%s forgot more than %s: training stops", row, self.max_forgetting)
        return stop

    def _ask(self, row: str, model: Any) -> ResultMatrix:
        with undisturbed(model):
            moment = HFModel(Moment(model, self._processor, self._weights.digest()), name=row)
            return evaluate_all(
                [moment], self.tasks, self._store, rows=[row], limit=self.limit, batch_size=self.batch_size
            )

    def _with_row(self, found: ResultMatrix, step: int) -> ResultMatrix:
        """The matrix with the row of `found` at its end. A row of the same name is of a stretch that was trained again."""
        (row,) = found.rows
        before = _without(self.matrix, {row})
        meta = {**before.meta, "steps": {**before.meta.get("steps", {}), row: step}}
        if self.tuned_on and before.rows:
            meta["tuned_on"] = {**before.meta.get("tuned_on", {}), row: self.tuned_on}
        if failed := [*before.meta.get("failed", ()), *found.meta.get("failed", ())]:
            meta["failed"] = failed
        return ResultMatrix((*before.rows, row), self.matrix.cols, {**before.runs, **found.runs}, meta)

    def _mark(self, drops: Sequence[Drop]) -> None:
        """Writes down which row is the best trade-off."""
        values = trade_offs(self.matrix, drops, self.tuned_on)
        best = max(values, key=lambda row: values[row]) if values else None
        meta = {**self.matrix.meta, "trade_off": values, "best": best}
        self.matrix = ResultMatrix(self.matrix.rows, self.matrix.cols, self.matrix.runs, meta)

    def _is_beyond(self, row: str) -> bool:
        """Whether this row is shown to have forgotten too much.

        The t-th look may err with probability alpha / (t (t + 1)), which add up to alpha, however often one looks.
        """
        base, looks = self.matrix.rows[0], len(self.matrix.rows) - 1
        if self.max_forgetting is None or not looks:
            return False
        runs = self.matrix.runs
        cols = [
            col
            for col in self.matrix.cols
            if col != self.tuned_on and (base, col) in runs and (row, col) in runs
        ]
        pairings = [pair_runs(runs[base, col], runs[row, col]) for col in cols]
        level = 1 - (1 - self.level) / (looks * (looks + 1))
        return any(held.outcome == "beyond" for held in hold_to(self.max_forgetting, pairings, level))

    def _report(self, figures: dict[str, float], state: Any, control: Any) -> None:
        figures = {
            **figures,
            "eval_audit_seconds": self._budget.expected,
            "eval_audit_time_share": self._budget.share,
        }
        if self._tell is None:
            state.log_history.append({**figures, "epoch": state.epoch, "step": state.global_step})
            return
        wanted = control.should_log  # logging ours would use up the trainer's own turn
        self._tell(figures)
        control.should_log = wanted

    def _earlier_rows(self, step: int) -> ResultMatrix:
        """The rows of a training that is resumed, up to `step`; none of a training that begins."""
        path = self._store.root / "matrix.json"
        if not step or not os.path.exists(path):
            return ResultMatrix((), self.matrix.cols, {})
        before = load_matrix(path)
        steps = before.meta.get("steps", {})
        if before.cols != self.matrix.cols or set(steps) != set(before.rows):
            raise KeepsightError(f"{path} is of another audit; give this training an output_path of its own")
        return _without(before, {row for row in before.rows if steps[row] > step})

    def _check_resumed(self, model: Any, step: int) -> None:
        """Says so when the weights are not those that were audited at this step: a checkpoint that was not loaded."""
        now = Moment(model, self._processor, self._weights.digest()).digest
        for (row, _), run in self.matrix.runs.items():
            if self.matrix.meta["steps"][row] == step and run.manifest["checkpoint_digest"] != now:
                _log.warning(
                    "the weights are not those that were audited as %s at step %d: was the checkpoint loaded?",
                    row,
                    step,
                )
                return


def trade_offs(matrix: ResultMatrix, drops: Sequence[Drop], tuned_on: str | None) -> dict[str, float]:
    """Row -> what was gained on the tuned task minus what was lost, on average, on the others.

    Gains on the other tasks count as negative losses: noise then cancels instead of adding up. The base gained and lost
    nothing, 0, and is among the rows where `tuned_on` is known: a training that costs more than it brings has no better
    row. Without `tuned_on` nothing is gained, and the row that lost least is the best. Rows with a cell that could not be
    compared have no figure.
    """
    found = {(drop.row, drop.col): drop.difference for drop in drops if drop.n}
    values: dict[str, float] = {matrix.rows[0]: 0.0} if tuned_on else {}
    for row in matrix.rows[1:]:
        lost = [found.get((row, col)) for col in matrix.cols if col != tuned_on]
        gain = found.get((row, tuned_on)) if tuned_on else 0.0
        if gain is not None and all(loss is not None for loss in lost):
            known = [loss for loss in lost if loss is not None]
            values[row] = -gain - (math.fsum(known) / len(known) if known else 0.0)
    return values


@dataclass
class Budget:
    """The time that audits take and may take."""

    max_share: float
    clock: Callable[[], float] = time.perf_counter
    spent: float = 0.0
    expected: float = 0.0  # seconds of the next audit: as long as the last one
    _began: float = 0.0
    _told: bool = field(default=False, repr=False)

    def start(self) -> None:
        """Training begins now."""
        self._began, self.spent, self._told = self.clock(), 0.0, False

    @property
    def elapsed(self) -> float:
        return self.clock() - self._began

    @property
    def share(self) -> float:
        """What audits have taken of the time since training began."""
        return self.spent / self.elapsed if self.elapsed > 0 else 0.0

    @property
    def wait(self) -> float:
        """Seconds until another audit would fit."""
        return max(0.0, (self.spent + self.expected) / self.max_share - self.expected - self.elapsed)

    def allows(self) -> bool:
        """Whether audits stay within their share if there is one now."""
        return self.wait == 0.0

    def puts_off(self) -> bool:
        """True the first time that an audit is put off after one that was done: worth a message."""
        first, self._told = not self._told, True
        return first

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Counts what happens inside as an audit."""
        start = self.clock()
        try:
            yield
        finally:
            self.expected = self.clock() - start
            self.spent += self.expected
            self._told = False


class Moment(BuiltSource):
    """A model in training as it stands now: its digest is computed once, because it is asked before it learns on."""

    def __init__(self, module: Any, processor: Any, weights_digest: str) -> None:
        super().__init__(module, processor)
        self._weights_digest = weights_digest

    @property
    def weights_digest(self) -> str:
        return self._weights_digest

    @cached_property
    def _digest(self) -> str:
        return super().digest

    @property
    def digest(self) -> str:
        return self._digest


class Weights:
    """The identity of weights in training: what is frozen is read once, and what learns at every audit."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self._frozen = {name for name, tensor in _parameters(module) if not tensor.requires_grad}
        self._frozen_digest = self._digest_of_frozen()

    def digest(self) -> str:
        """Of all weights as they are now."""
        thawed = {name for name, tensor in _parameters(self._module) if tensor.requires_grad} & self._frozen
        if thawed:
            self._frozen -= thawed
            self._frozen_digest = self._digest_of_frozen()
        state = self._module.state_dict()
        moving = {name: tensor for name, tensor in state.items() if name not in self._frozen}
        return digest_of([self._frozen_digest, state_digest(moving)])

    def _digest_of_frozen(self) -> str:
        state = self._module.state_dict()
        return state_digest({name: tensor for name, tensor in state.items() if name in self._frozen})


def _parameters(module: Any) -> Iterator[tuple[str, Any]]:
    """Tied parameters under each of their names, as in the state dict."""
    yield from module.named_parameters(remove_duplicate=False)


@contextmanager
def undisturbed(module: Any) -> Iterator[None]:
    """Whatever happens inside, random streams and the tensors that the module's parts hold are as before.

    Modes and requires_grad are put back by whoever asks the model; some families also keep tensors between two forward
    passes (position offsets, grown rotary tables), which must not reach the next training step. What is no tensor stays:
    transformers installs hooks at the first forward pass and notes that it did.
    """
    import numpy as np
    import torch

    held = [(part, dict(vars(part)), dict(part._buffers)) for part in module.modules()]
    python, numpy = random.getstate(), np.random.get_state()
    kinds = {(tensor.device.type, tensor.device.index or 0) for tensor in module.parameters()}
    kind = next((kind for kind, _ in kinds if kind != "cpu"), "cuda")
    devices = [index for name, index in kinds if name == kind]
    try:
        with torch.random.fork_rng(devices=devices, device_type=kind):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        for part, attributes, buffers in held:
            _put_back(vars(part), attributes)
            _put_back(part._buffers, buffers)


def _put_back(now: dict[str, Any], before: Mapping[str, Any]) -> None:
    """Restores the tensors among these attributes, and what stood where a tensor stands now."""
    import torch

    for name in [*now]:
        if isinstance(now[name], torch.Tensor) and name not in before:
            del now[name]
    for name, value in before.items():
        changed = now.get(name) is not value
        if changed and (isinstance(value, torch.Tensor) or isinstance(now.get(name), torch.Tensor)):
            now[name] = value


def _require_whole(model: Any) -> None:
    """One process alone cannot ask a model that no process holds."""
    sharded = any(
        type(tensor).__name__ == "DTensor" or hasattr(tensor, "ds_id") for tensor in model.parameters()
    )
    if sharded or any(type(part).__name__ == "FullyShardedDataParallel" for part in model.modules()):
        raise KeepsightError(
            "the model is sharded over processes (FSDP, ZeRO-3), so that no process can ask it alone; "
            "audit the checkpoints it saves: keepsight audit BASE OUTPUT_DIR"
        )


def _own_processor(processor: Any) -> Any:
    """A copy: asking may complete it (chat template, padding token), and the trainer's is the trainer's."""
    if not hasattr(processor, "image_processor"):
        raise KeepsightError(
            f"asking about pictures needs a processor, not {type(processor).__name__}; "
            "give processor=... to the callback, or processing_class=... to the trainer"
        )
    return copy.deepcopy(processor)


def _column(name: str | None, asked: Sequence[str | Task], tasks: Sequence[Task]) -> str | None:
    """A task may be named as it was asked for (`emt:data/birds` is `emt:birds`)."""
    called = {given: task.name for given, task in zip(asked, tasks) if isinstance(given, str)}
    known = [task.name for task in tasks]
    column = called.get(name, name) if name is not None else None
    if column is not None and column not in known:
        raise KeepsightError(
            f"tuned_on names {name!r}, which is not among the tasks; choose from {', '.join(known)}"
        )
    return column


def _without(matrix: ResultMatrix, rows: set[str]) -> ResultMatrix:
    """The matrix without these rows and what was noted of them."""
    kept = tuple(row for row in matrix.rows if row not in rows)
    runs = {cell: run for cell, run in matrix.runs.items() if cell[0] in kept}
    meta: dict[str, Any] = {}
    for name, value in matrix.meta.items():
        if name == "failed":
            value = [cell for cell in value if cell["row"] in kept]
        elif isinstance(value, Mapping):
            value = {row: entry for row, entry in value.items() if row in kept}
        if value:
            meta[name] = value
    return ResultMatrix(kept, matrix.cols, runs, meta)


def _figures(matrix: ResultMatrix, drops: Sequence[Drop], row: str, tuned_on: str | None) -> dict[str, float]:
    """What trackers are told of a row: numbers only, and none that is not known."""
    figures: dict[str, float] = {}
    for col in matrix.cols:
        if (row, col) in matrix.runs:
            found = matrix[row, col].headline
            figures[f"eval_{_tag(col)}/{found.name}"] = found.value
    its = [drop for drop in drops if drop.row == row]
    for drop in its:
        name = f"eval_{_tag(drop.col)}/forgotten"
        figures |= {name: drop.difference, f"{name}_low": drop.low, f"{name}_high": drop.high}
    lost = [drop.difference for drop in its if drop.col != tuned_on and drop.n]
    if lost:
        figures["eval_forgetting"] = math.fsum(lost) / len(lost)
    if gained := [-drop.difference for drop in its if drop.col == tuned_on and drop.n]:
        figures["eval_gain"] = gained[0]
    if row in matrix.meta["trade_off"]:
        figures["eval_trade_off"] = matrix.meta["trade_off"][row]
    return {name: value for name, value in figures.items() if math.isfinite(value)}


def _tag(col: str) -> str:
    """A task's name as part of a tracker's tag."""
    return col.replace(":", "_").replace("/", "_")


def _agreed(stop: bool, args: Any) -> bool:
    """The first process's word, on all processes."""
    import torch

    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        return stop
    flag = torch.tensor([int(stop)], device=args.device)
    distributed.broadcast(flag, src=0)
    return bool(flag.item())
