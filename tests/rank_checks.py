"""What two processes do for tests/test_ranks.py, in one start: `accelerate launch ... tests/rank_checks.py BASE OUT`.

Every check leaves files below OUT; what each rank saw is in OUT/seen.json.
"""

import atexit
import io
import json
import os
import shutil
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path

from keepsight.evaluate import evaluate
from keepsight.ranks import join, launched
from keepsight.store import Store
from keepsight.types import KeepsightError
from keepsight.verbs import audit
from tests.fake_vlm import FakeVLM, make_task, samples

N = 13  # rows that are learnt: the last step of an epoch is short, and one rank's share filled up
HOLDING = ("lwf", "agem", "ewc", "l2sp")  # methods that act within a step
AUDITED = {"tasks": ["emt:shapes"], "limit": 9, "judges": ["label"], "gen_kwargs": {"max_new_tokens": 6}}


def settings(**changes):
    from keepsight.tune.config import SFTConfig

    quick = SFTConfig(
        num_train_epochs=1,
        learning_rate=1e-2,
        save_steps=3,
        lora_r=4,
        lora_dropout=0.0,
        method="lora",
        num_experts=2,
    )
    return replace(quick, **changes)


def rows():
    from keepsight.data.drawn import SETS
    from keepsight.data.llava import instruction_samples

    return instruction_samples(SETS["shapes"], n=N)


def message_of(work):
    try:
        work()
    except KeepsightError as error:
        return str(error)
    return ""


def a_failure_in_one_rank(out, ranks):
    """Rank 1 fails at the last sample of its share."""
    from keepsight.ranks import deal

    task = make_task(samples(11))
    fatal = task.test()[deal(task.test(), 2)[1][-1]].id
    broken = FakeVLM(answers={fatal: RuntimeError("boom")} if ranks.rank == 1 else {})
    error = message_of(lambda: evaluate(broken, task, Store(out / "failed"), ranks=ranks))
    ranks.wait()
    if ranks.is_first:
        shutil.copytree(out / "failed", out / "resumed-by-two")
    ranks.wait()
    again = FakeVLM()
    evaluate(again, task, Store(out / "resumed-by-two"), ranks=ranks)
    return {"error": error, "fatal": fatal, "asked": broken.asked, "asked_again": again.asked}


def different_questions(out, ranks):
    task = make_task(samples(3 + ranks.rank))
    return message_of(lambda: evaluate(FakeVLM(), task, Store(out / "different"), ranks=ranks))


def too_many_errors(out, ranks):
    """One failed sample in each rank, where one is allowed in all."""
    task = make_task(samples(8))
    model = FakeVLM(broken=frozenset({"s000", "s001"}))
    return message_of(
        lambda: evaluate(model, task, Store(out / "errors"), fail_on_error=2, ranks=ranks)
    ), model.asked


class Dies:
    """A method that ends the run at a step, in every rank."""

    @staticmethod
    def at(step):
        from keepsight.tune.methods import Sequential

        class Dying(Sequential):
            steps = 0

            def edit_gradients(self, model):
                self.steps += 1
                if self.steps == step:
                    raise KeyboardInterrupt

        return Dying()


def tuned_and_resumed(base, out, name, config, on_epoch=None):
    """A run without a stop, which may be audited, and one that is stopped and goes on."""
    from keepsight.models import load
    from keepsight.tune.sft import sft

    sft(load(base, device="cpu"), rows(), config, out / name, on_epoch=on_epoch)
    try:
        sft(load(base, device="cpu"), rows(), config, out / f"{name}-resumed", method=Dies.at(4))
    except KeyboardInterrupt:
        sft(load(base, device="cpu"), rows(), config, out / f"{name}-resumed", method=Dies.at(99))


def a_sequence(base, out, folder, **changes):
    """Two stages whose checkpoints are asked by all ranks; the first stage's is gone at the end."""
    from keepsight.data.drawn import SETS
    from keepsight.data.llava import write_llava_json
    from keepsight.data.sequences import SequenceSpec, StageSpec
    from keepsight.sequencing import tune_sequence

    def stage(name):
        if join(cpu=True).is_first:
            write_llava_json(SETS[name], out / "data" / name, n=N)
        join(cpu=True).wait()
        return StageSpec(name, f"emt:{name}", out / "data" / name / "train.json")

    spec = SequenceSpec((stage("shapes"), stage("letters")))
    config = {"num_train_epochs": 1, "learning_rate": 1e-2, "lora_r": 4, "lora_dropout": 0.0, **changes}
    told = tune_sequence(
        base, spec, out / folder, keep="last", limit=5, judges=["label"], device="cpu", report=False, **config
    )
    return [list(told.matrix.rows), [stage.checkpoint.exists() for stage in told.stages]]


def together(*names):
    """One method that does what several do, in their order: two processes are started, and three sequences are dear."""
    from keepsight.tune.methods import METHODS, Method

    class Together(Method):
        name = "+".join(names)
        parts = [METHODS[name]() for name in names]
        penalises_answers = True  # no other of them has a penalty

        def arrange(self, stages):
            for part in self.parts:
                stages = part.arrange(stages)
            return stages

        def start_stage(self, model, stage):
            for part in self.parts:
                part.start_stage(model, stage)

        def penalty(self, model, batch, outputs):
            return sum(part.penalty(model, batch, outputs) for part in self.parts)

        def edit_gradients(self, model):
            for part in self.parts:
                part.edit_gradients(model)

        def end_stage(self, model, stage):
            for part in self.parts:
                part.end_stage(model, stage)

        def state_dict(self):
            return {f"{p.name}/{key}": value for p in self.parts for key, value in p.state_dict().items()}

        def load_state_dict(self, state):
            for part in self.parts:
                own = {
                    key.removeprefix(f"{part.name}/"): v
                    for key, v in state.items()
                    if key.startswith(part.name)
                }
                part.load_state_dict(own)

    return Together()


SPLIT = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 2}


def two_stages(base, out, split, method):
    """Two stages that answer the same questions otherwise.

    At a constant rate: a warm-up would leave the weights where they are in the first of two steps, and nothing to hold
    in the second.
    """
    from keepsight.models import load
    from keepsight.tune.methods import Stage
    from keepsight.tune.sequence import run_sequence

    other = [replace(row, target=("Is there a red dog?",)) for row in rows()[:7]]
    stages = [Stage("a", rows()[:6]), Stage("b", other)]
    config = settings(lr_scheduler_type="constant", **split)
    return run_sequence(load(base, device="cpu"), stages, config, out, method=method)


def commands(out):
    """The command line in every rank: what each prints, and its exit code."""
    from keepsight import cli

    (out / "replay.jsonl").write_text('{"id": "nobody", "text": "A"}\n')
    said, errors = io.StringIO(), io.StringIO()
    sys.argv = ["keepsight", "eval", "--model", f"replay:{out / 'replay.jsonl'}", "--tasks", "emt:shapes"]
    sys.argv += ["--limit", "4", "--judges", "label", "--output_path", str(out / "commands")]
    code = 0
    with redirect_stdout(said), redirect_stderr(errors):
        try:
            cli.main()
        except SystemExit as left:
            code = left.code
    return [said.getvalue(), errors.getvalue(), code]


def under_fsdp(base, out):
    """accelerate turns FSDP on for accelerators only; told that gloo's group is one, it does everything else."""
    from accelerate import PartialState
    from accelerate.state import AcceleratorState
    from accelerate.utils import DistributedType

    from keepsight.models import load
    from keepsight.tune.sft import sft
    from keepsight.tune.shards import is_sharded

    os.environ["ACCELERATE_USE_FSDP"] = "true"
    AcceleratorState._reset_state()
    refused = message_of(lambda: sft(load(base, device="cpu"), rows(), settings(), out / "on-cpu"))
    AcceleratorState._reset_state()
    PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
    config = settings(method="moelora", per_device_train_batch_size=1, gradient_accumulation_steps=2)
    tuned_and_resumed(base, out, "fsdp-moelora", config)
    AcceleratorState._reset_state()
    PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
    config = settings(method="full", per_device_train_batch_size=2, learning_rate=1e-3)
    sft(load(base, device="cpu"), rows(), config, out / "fsdp-full")
    AcceleratorState._reset_state()
    PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
    # Layers are computed once more in the backward pass: with the weights that learn, whoever was asked meanwhile.
    method = together(*HOLDING)
    two_stages(base, out / "fsdp-methods", {**SPLIT, "gradient_checkpointing": True}, method)
    return refused, all(map(is_sharded, method.parts[0]._start.values()))


def note_the_group(out):
    """Whether there is still a group when the interpreter ends."""
    import torch

    (out / f"group-at-exit-{launched().rank}").write_text(str(torch.distributed.is_initialized()))


def main(base, out):
    import torch

    from keepsight.models import load
    from keepsight.tune.sft import sft

    os.environ.pop(
        "ACCELERATE_USE_FSDP"
    )  # the launcher's configuration is FSDP's; it has its turn at the end
    atexit.register(note_the_group, out)  # what is registered first runs last
    ranks = join(cpu=True)
    seen = {"launched": [launched().rank, launched().size], "threads": torch.get_num_threads()}
    seen["failure"] = a_failure_in_one_rank(out, ranks)
    seen["different"] = different_questions(out, ranks)
    seen["errors"] = too_many_errors(out, ranks)
    seen["printed"] = commands(out)

    def audit_epoch(checkpoint, epoch):
        steps = []
        matrix = audit(
            [base, str(checkpoint)],
            output_path=out / "audit",
            device="cpu",
            progress=lambda *step: steps.append(step),
            **AUDITED,
        )
        seen["encoded"] = load(base, device="cpu").base.tower_cache.rows_encoded
        seen["headlines"] = [run.headline.value for run in matrix.runs.values()]
        seen["progress"] = [done for _, done, _ in steps]
        seen["told"] = [checkpoint.name, epoch]

    config = settings(per_device_train_batch_size=1, gradient_accumulation_steps=2)
    tuned_and_resumed(base, out, "ddp", config, audit_epoch)
    config = settings(method="moelora", per_device_train_batch_size=2)
    sft(load(base, device="cpu"), rows(), config, out / "ddp-moelora")
    seen["sequence"] = a_sequence(base, out, "sequence", per_device_train_batch_size=2)
    two_stages(base, out / "ddp-methods", SPLIT, together(*HOLDING))
    seen["fsdp_on_cpu"], seen["teacher_in_parts"] = under_fsdp(base, out)
    everyone = ranks.gather(seen)
    if ranks.is_first:
        (out / "seen.json").write_text(json.dumps(everyone))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
