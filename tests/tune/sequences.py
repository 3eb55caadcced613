"""Two short stages under a method, without what a sequence adds to that."""

from pathlib import Path

from keepsight.tune.config import SFTConfig
from keepsight.tune.methods import Method, Stage
from keepsight.tune.sft import tune_stage
from keepsight.tune.starting import Start, read_method_state

QUICK = SFTConfig(
    method="lora",
    num_train_epochs=1,
    per_device_train_batch_size=4,
    learning_rate=1e-2,
    lr_scheduler_type="constant",  # a stage of one step learns, too
    lora_r=4,
    lora_alpha=8,
    lora_dropout=0.0,
)


def run_stages(model, method: Method, samples, config: SFTConfig, out: Path, **hooks) -> list[Path]:
    """The last checkpoint of each stage. `samples` maps stage names to what is learnt."""
    start, last = Start(), []
    named = [
        Stage(name, rows, number=i, count=len(samples)) for i, (name, rows) in enumerate(samples.items(), 1)
    ]
    for stage in method.arrange(named):
        directory = out / "stages" / f"{stage.number:02d}-{stage.name}"
        last.append(tune_stage(model, stage, config, directory, method=method, start=start, **hooks)[-1])
        start = Start(last[-1] if method.continues else None, read_method_state(directory))
    return last
