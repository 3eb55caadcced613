"""The callback in TRL's own trainer: pictures and messages as TRL wants them, the same weights with it and without."""

import pytest
import torch

import keepsight as ks
from keepsight.data.pictures import decode
from keepsight.models import load
from keepsight.models.sources import state_digest
from tests.tune.test_callback import Spy, suite

pytestmark = pytest.mark.torch


@pytest.fixture
def trainer(base, samples, tmp_path):
    """Builds a trainer with fresh weights on six pictures."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    rows = [
        {
            "images": [decode(sample.media[0])],
            "prompt": [{"role": "user", "content": sample.prompt.replace("<image>", "").strip()}],
            "completion": [{"role": "assistant", "content": sample.target[0]}],
        }
        for sample in samples[:6]
    ]

    def build(heard):
        torch.manual_seed(0)
        model = load(str(base), device="cpu").unshared()
        settings = SFTConfig(
            str(tmp_path / "trl"),
            num_train_epochs=2,
            per_device_train_batch_size=3,
            learning_rate=0.01,
            logging_steps=1,
            max_length=None,
            save_strategy="no",
            report_to="none",
            use_cpu=True,
            bf16=False,
            disable_tqdm=True,
        )
        return SFTTrainer(
            model=model.module,
            args=settings,
            train_dataset=Dataset.from_list(rows),
            processing_class=model.processor,
            callbacks=[Spy(heard)],
        )

    return build


def test_trl_trains_the_same_weights_with_it_and_its_trackers_hear(trainer, tmp_path):
    plain = trainer([])
    before = state_digest(plain.model.state_dict())
    plain.train()
    heard = []
    audited = trainer(heard)
    callback = ks.ForgettingCallback(suite(), tmp_path / "audit", tuned_on="shapes", max_time_share=1.0)
    callback.attach(audited)
    audited.train()
    assert state_digest(audited.model.state_dict()) == state_digest(plain.model.state_dict()) != before
    assert callback.matrix.rows == ("base", "epoch-1", "epoch-2")
    assert callback.matrix.meta["steps"] == {"base": 0, "epoch-1": 2, "epoch-2": 4}
    runs = callback.matrix.runs.values()
    assert len({run.manifest["checkpoint_digest"] for run in runs}) == 3
    assert all(record.output.error is None for run in runs for record in run.records)
    assert sum("eval_audit_seconds" in logs for logs in heard) == 3
    assert sum("loss" in logs for logs in heard) == 4
    assert {"eval_letters/forgotten", "eval_gain"} <= heard[-2].keys() | heard[-3].keys()
