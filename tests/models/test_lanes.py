"""Several cores for one small model: the same answers, the same tensors, nothing noted by one lane read by another."""

from __future__ import annotations

import shutil
import threading
import time

import pytest

from keepsight.models import load
from keepsight.types import KeepsightError
from tests.models.conftest import answers

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("fresh_registry")]


@pytest.fixture
def lanes():
    import torch

    from keepsight.models.lanes import Lanes

    def make(count: int, module=None):
        return Lanes(module or torch.nn.Linear(2, 2), count)

    return make


@pytest.fixture
def three_lanes(monkeypatch):
    from keepsight.models import bases
    from keepsight.models.lanes import Lanes

    monkeypatch.setattr(bases, "lanes_for", lambda module, device, common: Lanes(module, 3, common))


def ref(base, *adapters) -> str:
    return "".join([f"hf:{base}", *(f"+adapter:{each}" for each in adapters)])


def test_several_lanes_answer_as_one_does_whatever_is_worn_in_between(
    tiny_llava, checkpoints, samples, broken, three_lanes
):
    asked = [*samples, broken]
    refs = [ref(tiny_llava), *(ref(tiny_llava, checkpoints[name]) for name in ("lora", "linear", "lora2"))]
    alone = {each: answers(load(each).unshared(), asked) for each in refs}
    for each in [*refs, *reversed(refs)]:
        for sample, one, beside in zip(asked, alone[each], answers(load(each), asked, batch_size=2)):
            assert (beside.text, beside.token_ids, beside.error) == (one.text, one.token_ids, one.error), (
                sample
            )
            assert beside.token_logprobs == pytest.approx(one.token_logprobs, abs=1e-5)


def test_lanes_share_tensors_and_tower_cache_but_not_attributes(tiny_llava, checkpoints, three_lanes):
    model = load(ref(tiny_llava, checkpoints["lora"]))
    first, *twins = model._lanes().modules
    assert len(twins) == 2
    for twin in twins:
        assert twin is not first and twin.config is not first.config
        assert all(a is b for a, b in zip(first.parameters(), twin.parameters(), strict=True))
        assert all(a is b for a, b in zip(first.buffers(), twin.buffers(), strict=True))
        assert tower(twin).forward is tower(first).forward is model.base.tower_cache


def tower(module):
    return module.model.vision_tower


def test_what_one_lane_notes_on_its_module_no_other_reads(lanes):
    import torch

    class Forgetful(torch.nn.Module):
        """Notes on itself where it stands, as Qwen's families do."""

    both = threading.Barrier(2)

    def ask(module, question):
        module.noted = question
        both.wait(5)
        time.sleep(0.01)
        return module.noted

    assert lanes(2, Forgetful()).map(ask, ["a", "b"]) == ["a", "b"]


def test_a_failure_is_raised_only_when_every_lane_is_free(lanes):
    ended = []

    def ask(module, seconds):
        time.sleep(seconds)
        ended.append(seconds)
        if not seconds:
            raise MemoryError("the first")

    with pytest.raises(MemoryError, match="the first"):
        lanes(2).map(ask, [0, 0.1])
    assert ended == [0, 0.1]


def test_lanes_compute_without_gradients_on_one_core_each_and_leave_the_caller_s_alone(lanes):
    import torch

    before = torch.get_num_threads()

    def state(module, _):
        return torch.is_inference_mode_enabled(), torch.get_num_threads()

    assert lanes(2).map(state, [1, 2]) == [(True, 1), (True, 1)]
    assert torch.get_num_threads() == before and not torch.is_inference_mode_enabled()


def test_only_a_small_model_on_the_cpu_gets_lanes(monkeypatch):
    import torch

    from keepsight.models import lanes as room

    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    module = torch.nn.Linear(4, 4)
    assert len(room.lanes_for(module, "cpu")) == 3
    assert len(room.lanes_for(module, "cuda:0")) == 1
    monkeypatch.setattr(room, "_SMALL", 19)
    assert len(room.lanes_for(module, "cpu")) == 1


def test_memory_that_runs_out_on_one_lane_halves_what_all_are_asked(
    tiny_llava, samples, three_lanes, monkeypatch
):
    model = load(ref(tiny_llava))
    whole = [output.text for output in answers(model, samples)]
    decode = model._decode

    def small(decoding, module, question):
        if len(question.asked) > 1:
            raise MemoryError
        return decode(decoding, module, question)

    monkeypatch.setattr(model, "_decode", small)
    assert [output.text for output in answers(model, samples, batch_size=4)] == whole


def test_a_checkpoint_that_does_not_fit_leaves_no_lane_dressed(tiny_llava, checkpoints, samples, three_lanes):
    bare, worn = load(ref(tiny_llava)), load(ref(tiny_llava, checkpoints["lora"]))
    before, dressed = (([output.token_logprobs for output in answers(m, samples)]) for m in (bare, worn))
    assert before != dressed
    from safetensors.torch import load_file, save_file

    misfit = checkpoints["lora2"].parent / "misfit"
    shutil.copytree(checkpoints["lora2"], misfit)
    tensors = load_file(misfit / "adapter_model.safetensors")
    save_file(dict(list(tensors.items())[1:]), misfit / "adapter_model.safetensors")
    with pytest.raises(KeepsightError):
        answers(load(ref(tiny_llava, misfit)), samples)
    assert [output.token_logprobs for output in answers(bare, samples)] == before
    assert [output.token_logprobs for output in answers(worn, samples)] == dressed
