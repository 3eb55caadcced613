"""Which samples a step learns from, and how fast: functions of the step's number, so that a resumed run is a fresh one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

from keepsight.tune.config import SFTConfig

__all__ = ["Plan", "learning_rate_factor"]


@dataclass(frozen=True)
class Plan:
    """The whole run laid out. Steps are optimiser steps, counted from 1; epochs from 1."""

    samples: int
    batch_size: int
    accumulation: int
    epochs: int
    processes: int
    seed: int

    @classmethod
    def of(cls, config: SFTConfig, samples: int, processes: int = 1) -> Plan:
        """The plan for `samples` samples on `processes` devices."""
        return cls(
            samples,
            config.per_device_train_batch_size,
            config.gradient_accumulation_steps,
            config.num_train_epochs,
            processes,
            config.seed,
        )

    @property
    def samples_per_step(self) -> int:
        return self.batch_size * self.accumulation * self.processes

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(self.samples / self.samples_per_step)

    @property
    def total_steps(self) -> int:
        return self.steps_per_epoch * self.epochs

    def epoch_of(self, step: int) -> int:
        """The epoch that a step belongs to."""
        return (step - 1) // self.steps_per_epoch + 1

    def ends_epoch(self, step: int) -> bool:
        """Whether an epoch is over after this step."""
        return step % self.steps_per_epoch == 0

    def batches(self, step: int, process: int = 0) -> list[list[int]]:
        """Indices of the samples of one step, as the batches that one process passes forward, in order.

        An epoch's last step may be short. It is filled up only so far that every process gets as many samples as
        the others: a process without a batch would wait for the others for ever. See `has_filler`.
        """
        order = self._order(self.epoch_of(step))
        chosen = order[self._start(step) : self._start(step) + self.samples_per_step]
        chosen += [order[i % len(order)] for i in range(-len(chosen) % self.processes)]
        own = chosen[process :: self.processes]
        return [own[i : i + self.batch_size] for i in range(0, len(own), self.batch_size)]

    def has_filler(self, step: int, process: int = 0) -> bool:
        """Whether the last sample of this process only fills up the step, and must not be learnt again."""
        left = min(self.samples_per_step, self.samples - self._start(step)) % self.processes
        return 0 < left <= process

    def _start(self, step: int) -> int:
        return (step - 1) % self.steps_per_epoch * self.samples_per_step

    def _order(self, epoch: int) -> list[int]:
        order = list(range(self.samples))
        Random(f"{self.seed}/epoch-{epoch}").shuffle(order)
        return order


def learning_rate_factor(config: SFTConfig, step: int, total_steps: int) -> float:
    """What the peak learning rate is multiplied with at a step (from 1): warm-up from zero, then the schedule.

    Equal to transformers' schedules of the same names, which count steps from 0.
    """
    done = step - 1
    warmup = 0 if config.lr_scheduler_type == "constant" else math.ceil(config.warmup_ratio * total_steps)
    if done < warmup:
        return done / warmup
    if config.lr_scheduler_type.startswith("constant"):
        return 1.0
    rest = (done - warmup) / max(1, total_steps - warmup)
    return 1.0 - rest if config.lr_scheduler_type == "linear" else 0.5 * (1.0 + math.cos(math.pi * rest))
