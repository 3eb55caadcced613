"""Supervised fine-tuning of a vision-language model: one loop, answer-only loss, a complete checkpoint per epoch.

What differs from LLaVA's recipe (arXiv:2304.08485) and from a Hugging Face Trainer:
1. The loss of an optimiser step is the mean over *all* answer tokens of the step, however they were split into
   batches and over devices: batch 1 x accumulation 8 learns the same as batch 8.
2. A step's samples, learning rate and dropout follow from its number, so a killed run resumes bit for bit.
3. Every epoch ends with a checkpoint that can be audited: adapter, projector and settings in one directory.

    keepsight tune tiny --data my.json --method lora --output_path out
    torchrun --nproc-per-node 2 -m keepsight.cli tune ...   # the same on two devices; see docs/scaling.md
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from keepsight.data.pictures import decode
from keepsight.models import HFModel
from keepsight.models.anatomy import anatomy_of
from keepsight.models.checkpoint import read_checkpoint, remove_leftovers, save_checkpoint
from keepsight.models.sources import quiet_loading
from keepsight.ranks import Ranks, join
from keepsight.store.files import Lock, writing
from keepsight.tune.ahead import Ahead, Batch
from keepsight.tune.answers import IGNORED, answer_loss, answer_places, model_inputs
from keepsight.tune.config import SFTConfig
from keepsight.tune.connecting import connected
from keepsight.tune.identity import claim, data_digest, identity_of, is_claimed, require_same
from keepsight.tune.methods import Method, Sequential, Stage
from keepsight.tune.plan import Plan, learning_rate_factor
from keepsight.tune.progress import Clock, OnProgress, TrainLog, TrainProgress
from keepsight.tune.shards import is_sharded, whole
from keepsight.tune.starting import Start, write_method_state
from keepsight.tune.state import StateDirectory
from keepsight.tune.trainable import choose_trained, seeded, trained_parameters
from keepsight.types import KeepsightError, Sample

__all__ = ["Diverged", "SFTConfig", "sft", "tune_stage"]

_SHOWN = 3  # broken pictures, or samples of a broken step, named in one error


class Diverged(KeepsightError):
    """The loss or the gradient is no number any more; the message says at which step."""


OnEpoch = Callable[[Path, int], None]


def sft(
    model: HFModel,
    samples: Sequence[Sample],
    config: SFTConfig,
    output_dir: str | Path,
    *,
    method: Method | None = None,
    on_epoch: OnEpoch | None = None,
    progress: OnProgress | None = None,
) -> list[Path]:
    """Tunes a copy of `model` on the samples' targets; returns the checkpoint directories, one per epoch.

    Run again with the same arguments it goes on where it was killed, to the same bits on a CPU; when finished it
    loads nothing and trains nothing. `output_dir` holds `epoch-1`, `epoch-2`, ..., `train_log.jsonl` and `tune.json`.
    Under a launcher every process calls this and learns from its part of each step; the first one writes.

    Args:
        model: the base. A model loaded from a ref is left as it is; a module built by the caller is trained itself.
        samples: `target[0]` is the text to learn; see `HFModel.training_batch`.
        config: the settings.
        output_dir: one run each.
        method: what is done against forgetting (default: nothing, `Sequential`).
        on_epoch: called with (checkpoint directory, epoch) for every epoch in order, finished before or now; this is
            where the audit of each epoch hangs in. It must be repeatable. Of several processes each calls it, when the
            checkpoint is there for all.
        progress: called after every optimiser step, in the first process.

    Raises:
        KeepsightError: no samples, unreadable pictures, a directory of another run, or a loss that is not a number
            (names the step); of several processes, one that failed or was given something else.
    """
    method = method or Sequential()
    (stage,) = method.arrange([Stage("data", samples)])
    return tune_stage(
        model,
        stage,
        method.configure(config),
        output_dir,
        method=method,
        on_epoch=on_epoch,
        progress=progress,
    )


def tune_stage(
    model: HFModel,
    stage: Stage,
    config: SFTConfig,
    output_dir: str | Path,
    *,
    method: Method,
    start: Start | None = None,
    on_epoch: OnEpoch | None = None,
    progress: OnProgress | None = None,
) -> list[Path]:
    """`sft` of one stage of a sequence, whose method has arranged it.

    Args:
        start: the checkpoint whose tensors are trained on, and what the method remembers of the stages before; by
            default those of an untouched base and nothing.
    """
    if not stage.samples:
        raise KeepsightError("nothing to tune on: the data holds no samples")
    directory, start, ranks = Path(output_dir), start or Start(), join(cpu=model.device == "cpu")
    with writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
    with ExitStack() as closing:
        ranks.first(partial(_lock, directory, closing))
        about = identity_of(model, stage, config, method, start)
        require_same(about["identity"], ranks)
        ranks.first(partial(_claim, directory, about, stage.samples))
        done = _finished_epochs(directory, config)
        ranks.wait()  # everyone has seen the same epochs before one is added
        for epoch, checkpoint in enumerate(done, 1):
            if on_epoch is not None:
                on_epoch(checkpoint, epoch)
        if len(done) == config.num_train_epochs:
            if ranks.is_first:
                StateDirectory(directory / "state", about["identity"]).clear()
                for checkpoint in done:
                    remove_leftovers(checkpoint)
            return done
        base = model.weights_digest  # before training: a module built by the caller could not tell any more
        run = _Run(
            model.unshared(),
            stage,
            config,
            directory,
            about["identity"],
            base,
            method,
            start,
            progress,
            ranks,
        )
        return run.train(on_epoch, told=len(done))


@dataclass
class _Run:
    """One run of the loop: what it works with from the first step to the last."""

    model: HFModel
    stage: Stage
    config: SFTConfig
    directory: Path
    identity: str
    base_digest: str
    method: Method
    start: Start
    progress: OnProgress | None
    ranks: Ranks

    def train(self, on_epoch: OnEpoch | None, told: int) -> list[Path]:
        """The loop, from the newest state to the end. The first `told` epochs were reported already."""
        config, module = self.config, self.model.module
        text_alone = not all(sample.media for sample in (*self.samples, *self.stage.memory))
        accelerator = connected(module, config, text_alone=text_alone)
        plan = Plan.of(config, len(self.samples), accelerator.num_processes)
        choose_trained(module, config)
        self.start.put_on(module, self.method.carries_on)
        self.method.load_state_dict(self.start.state)
        self.method.wrap(self.model)
        self.method.start_stage(self.model, self.stage)
        wrapped, optimizer = accelerator.prepare(module, _optimizer(module, config))
        trained = trained_parameters(module)  # now: FSDP puts sharded ones in their places
        states = StateDirectory(self.directory / "state", self.identity, self.ranks)
        begun, extra = states.load(trained, _bare(optimizer))
        if begun:
            self.method.load_state_dict(extra)
        accelerator.wait_for_everyone()  # everybody has read the state before somebody writes the next
        log = TrainLog(self.directory / "train_log.jsonl", begun) if accelerator.is_main_process else None
        prepared = Ahead(
            lambda step: self._batches(plan, step, accelerator.process_index),
            ahead=accelerator.device.type != "cpu",
        )
        clock = Clock()
        _training_mode(module, config)
        for step in range(begun + 1, plan.total_steps + 1):
            clock.begin()
            batches = prepared.take(step, last=step == plan.total_steps)
            factor = learning_rate_factor(config, step, plan.total_steps)
            for group in optimizer.param_groups:
                group["lr"] = factor * group["peak_lr"]
            with seeded(accelerator.device, config.seed, step, accelerator.process_index):
                rows = plan.batches(step, accelerator.process_index)
                loss = self._backward(accelerator, wrapped, batches, rows)
            self._require_number(loss, "loss", step, plan)
            self.method.edit_gradients(self.model)
            norm = _clip(accelerator, trained, config.max_grad_norm)
            self._require_number(norm, "gradient", step, plan)
            optimizer.step()
            optimizer.zero_grad()
            clock.end(plan.processes * sum(map(len, plan.batches(step))), plan.processes * _tokens(batches))
            if log is not None:
                self._report(log, plan, step, loss, factor, norm, clock)
            last = step == plan.total_steps
            if last:
                self._end_stage()
            if plan.ends_epoch(step):
                checkpoint = self._save_checkpoint(plan.epoch_of(step), step)
            if not last and (plan.ends_epoch(step) or (config.save_steps and step % config.save_steps == 0)):
                states.save(step, trained, _bare(optimizer), self.method.state_dict())
            if plan.ends_epoch(step) and plan.epoch_of(step) > told and on_epoch is not None:
                prepared.wait()  # the callback may use the processor, which serves one thread at a time
                self.ranks.wait()  # the checkpoint is there
                on_epoch(checkpoint, plan.epoch_of(step))
                _training_mode(module, config)
        module.eval()
        accelerator.wait_for_everyone()
        if log is not None:
            states.clear()
        return _finished_epochs(self.directory, config)

    @property
    def samples(self) -> Sequence[Sample]:
        return self.stage.samples

    def _end_stage(self) -> None:
        """Before the last checkpoint appears: once it is there, nothing of this stage is run again."""
        self.method.end_stage(self.model, self.stage)
        remembered = {
            name: whole(value, keep=self.ranks.is_first) for name, value in self.method.state_dict().items()
        }
        if self.ranks.is_first:
            write_method_state(self.directory, remembered)

    def _batches(self, plan: Plan, step: int, process: int) -> list[Batch]:
        """The batches of one step as tensors on the CPU."""
        batches: list[Batch] = [
            self.model.training_batch([self.samples[i] for i in batch], max_length=self.config.max_length)
            for batch in plan.batches(step, process)
        ]
        if plan.has_filler(step, process):
            batches[-1]["labels"][-1] = IGNORED
        return batches

    def _backward(
        self, accelerator: Any, module: Any, batches: Sequence[Batch], rows: Sequence[Sequence[int]]
    ) -> float:
        """Gradients of one step, summed over its batches; returns the mean loss over its answer tokens."""
        import torch

        device = accelerator.device
        answer_tokens = [int(answer_places(batch["labels"]).sum()) for batch in batches]
        everyone = accelerator.reduce(torch.tensor([float(sum(answer_tokens))], device=device), "sum").item()
        alike = 1 / (len(batches) * accelerator.num_processes)
        total = torch.zeros(1, device=device)
        for i, batch in enumerate(batches):
            inputs = model_inputs(batch, device)
            last = i == len(batches) - 1
            with nullcontext() if last else accelerator.no_sync(module):
                with torch.autocast(device.type, torch.bfloat16, enabled=self.config.bf16):
                    outputs = module(**inputs, use_cache=False)
                    penalty = self.method.penalty(self.model, batch, outputs)
                share = answer_tokens[i] / everyone if self.method.penalises_answers else alike
                loss = answer_loss(outputs.logits, batch["labels"].to(device)) / everyone + share * penalty
                if not loss.requires_grad:
                    raise KeepsightError(self._nothing_to_learn(rows[i]))
                # Gradients are averaged over processes, so each gives as many times its share.
                accelerator.backward(loss * accelerator.num_processes)
                total += loss.detach()
        return float(accelerator.reduce(total, "sum").item())

    def _nothing_to_learn(self, rows: Sequence[int]) -> str:
        shown = ", ".join(self.samples[row].id for row in rows[:_SHOWN])
        return (
            f"method {self.config.method} trains the projector, which reads pictures, and a batch has none (rows {shown}"
            f"{', ...' if len(rows) > _SHOWN else ''}); train with lora or full, or leave out rows without a picture"
        )

    def _report(
        self, log: TrainLog, plan: Plan, step: int, loss: float, factor: float, norm: float, clock: Clock
    ) -> None:
        now = TrainProgress(
            step=step,
            total_steps=plan.total_steps,
            epoch=plan.epoch_of(step),
            epochs=plan.epochs,
            loss=loss,
            learning_rate=factor * self.config.learning_rate,
            grad_norm=norm,
            **clock.rates(plan.total_steps - step),
        )
        if step % max(1, self.config.logging_steps) == 0:
            log.append(asdict(now))
        if self.progress is not None:
            self.progress(now)

    def _save_checkpoint(self, epoch: int, step: int) -> Path:
        """Every rank comes, because a sharded tensor is put together by all; the first one writes."""
        directory = _epoch_directory(self.directory, epoch)
        with self.method.as_saved(self.model), quiet_loading():
            state = self._whole_state()
            if not self.ranks.is_first:
                return directory
            return save_checkpoint(
                self.model,
                directory,
                state=state,
                method=self.config.method,
                epoch=epoch,
                step=step,
                config=asdict(self.config),
                data_digest=data_digest(self.samples),
                base_digest=self.base_digest,
            )

    def _whole_state(self) -> dict[str, Any]:
        """What a checkpoint needs of the module's tensors, whole; nothing in the other ranks."""
        module = self.model.module
        trained = trained_parameters(module)
        known: dict[int, Any] = {}  # a tensor under two names stays one, so that it is saved once
        state = {}
        for name, value in module.state_dict(keep_vars=True).items():
            if self.config.method != "full" and name not in trained and is_sharded(value):
                continue
            if id(value) not in known:
                known[id(value)] = whole(value.detach(), keep=self.ranks.is_first)
            state[name] = known[id(value)]
        return state if self.ranks.is_first else {}

    def _require_number(self, value: float, what: str, step: int, plan: Plan) -> None:
        if not math.isfinite(value):
            first = ", ".join(self.samples[i].id for i in plan.batches(step)[0][:_SHOWN])
            raise Diverged(
                f"step {step} of {plan.total_steps}: the {what} is {value} (samples {first}, ...); "
                "lower learning_rate, or use float32 if the model is in half precision"
            )


def _lock(directory: Path, closing: ExitStack) -> None:
    closing.callback(Lock(directory).release)


def _claim(directory: Path, about: Mapping[str, Any], samples: Sequence[Sample]) -> None:
    if not is_claimed(directory):
        _require_readable(samples)
    claim(directory, about)


def _require_readable(samples: Sequence[Sample]) -> None:
    """Decodes every picture once before hours are spent on the others."""
    broken = []
    for media in dict.fromkeys(media for sample in samples for media in sample.media):
        try:
            decode(media)
        except KeepsightError as error:
            broken.append(str(error))
    if broken:
        more = f" and {len(broken) - _SHOWN} more" if len(broken) > _SHOWN else ""
        raise KeepsightError(
            f"{len(broken)} pictures of the training data: {'; '.join(broken[:_SHOWN])}{more}"
        )


def _epoch_directory(directory: Path, epoch: int) -> Path:
    return directory / f"epoch-{epoch}"


def _finished_epochs(directory: Path, config: SFTConfig) -> list[Path]:
    """Checkpoints that are there, from the first epoch on without a gap. An incomplete one is an error that names it."""
    found = []
    for epoch in range(1, config.num_train_epochs + 1):
        if not os.path.isdir(_epoch_directory(directory, epoch)):
            break
        found.append(read_checkpoint(_epoch_directory(directory, epoch)).directory)
    return found


def _optimizer(module: Any, config: SFTConfig) -> Any:
    """AdamW with up to four groups: matrices or not (weight decay) times projector or not (learning rate)."""
    import torch

    parts = anatomy_of(module)
    groups: dict[tuple[float, float], list[Any]] = {}
    for name, parameter in trained_parameters(module).items():
        own = config.projector_learning_rate if parts.projects(name) else None
        peak = config.learning_rate if own is None else own
        decay = config.weight_decay if parameter.dim() > 1 else 0.0
        groups.setdefault((peak, decay), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": p, "peak_lr": peak, "weight_decay": decay} for (peak, decay), p in groups.items()],
        lr=config.learning_rate,
        betas=(config.adam_beta1, config.adam_beta2),
        eps=config.adam_epsilon,
    )


def _bare(optimizer: Any) -> Any:
    """The torch optimiser inside accelerate's wrapper."""
    return getattr(optimizer, "optimizer", optimizer)


def _training_mode(module: Any, config: SFTConfig) -> None:
    """Dropout on, but never in a tower that does not learn."""
    module.train()
    if config.method != "full" or config.freeze_vision_tower:
        module.get_submodule(anatomy_of(module).tower).eval()
    if config.gradient_checkpointing:
        # Later releases of transformers 5 call it activation checkpointing and warn of the older name.
        renamed = getattr(module, "activation_checkpointing_enable", None)
        (renamed or module.gradient_checkpointing_enable)({"use_reentrant": False})


def _clip(accelerator: Any, trained: Mapping[str, Any], max_norm: float) -> float:
    """Scales gradients down to `max_norm` and returns the norm they had."""
    return float(accelerator.clip_grad_norm_(list(trained.values()), max_norm or math.inf))


def _tokens(batches: Sequence[Batch]) -> int:
    return sum(int(batch["attention_mask"].sum()) for batch in batches)
