"""Checkpoints on one shared base answer as a copy of their own would, and anything incomplete is refused by name."""

import json
import shutil

import pytest

from keepsight.models import load, save_checkpoint
from keepsight.models.anatomy import anatomy_of
from keepsight.types import KeepsightError
from tests.models.conftest import answers, make_checkpoint

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("fresh_registry")]


def ref(base, *adapters) -> str:
    return "+adapter:".join([f"hf:{base}", *map(str, adapters)])


@pytest.fixture
def copied(checkpoints, tmp_path):
    """A copy of a checkpoint that a test may damage."""

    def copy(name):
        return shutil.copytree(checkpoints[name], tmp_path / name)

    return copy


def edit_tensors(path, change):
    from safetensors.torch import load_file, save_file

    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def edit_json(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_switching_equals_a_copy_of_its_own_bit_for_bit(tiny_llava, checkpoints, samples):
    refs = [ref(tiny_llava)] + [ref(tiny_llava, checkpoints[name]) for name in ("lora", "linear", "lora2")]
    refs.append(ref(tiny_llava, checkpoints["lora"], checkpoints["lora2"]))
    apart = [answers(load(one).unshared(), samples) for one in refs[:4]]
    shared = [load(one) for one in refs[:4]]
    assert len({output[0].text for output in apart} | {output[1].text for output in apart}) > 4
    for order in ((0, 1, 2, 3), (3, 1, 0, 2), (0, 0, 1, 0)):
        for at in order:
            assert answers(shared[at], samples) == apart[at]
    assert len({id(model.base) for model in shared}) == 1


def test_the_base_is_loaded_once_for_all_checkpoints(tiny_llava, checkpoints, samples, monkeypatch):
    from transformers import AutoModelForImageTextToText

    loads = []
    real = AutoModelForImageTextToText.from_pretrained
    monkeypatch.setattr(
        AutoModelForImageTextToText, "from_pretrained", lambda *a, **k: loads.append(a) or real(*a, **k)
    )
    for name in ("lora", "linear", "lora2"):
        answers(load(ref(tiny_llava, checkpoints[name])), samples[:1])
    answers(load(ref(tiny_llava)), samples[:1])
    assert len(loads) == 1


def test_each_picture_is_encoded_once_for_all_checkpoints(tiny_llava, checkpoints, samples):
    """Even for a full checkpoint, which is another model in memory, if its tower stayed frozen."""
    names = [[], [checkpoints["lora"]], [checkpoints["linear"]], [checkpoints["full"]]]
    models = [load(ref(tiny_llava, *extra)) for extra in names]
    for model in models:
        answers(model, samples, batch_size=3)
    caches = {id(model.base): model.base.tower_cache for model in models}
    assert len(caches) == 2
    encoded = sum(cache.rows_encoded for cache in caches.values())
    assert encoded == len({sample.media[0].sha256 for sample in samples if sample.media}) == 5


def test_batches_are_prepared_once_for_all_checkpoints(tiny_llava, checkpoints, samples, broken, monkeypatch):
    from dataclasses import replace

    from keepsight.models import prompts
    from tests.models.conftest import picture

    decoded = []
    real = prompts.decode
    monkeypatch.setattr(prompts, "decode", lambda media: decoded.append(media) or real(media))
    asked = [*samples, broken]
    base, tuned = load(ref(tiny_llava)), load(ref(tiny_llava, checkpoints["lora"]))
    first = answers(base, asked, batch_size=3)
    once = len(decoded)
    answers(tuned, asked, batch_size=3)
    assert answers(base, asked, batch_size=3) == first and first[-1].error is not None
    assert len(decoded) == once
    other = [replace(sample, media=(picture(123),)) if sample.media else sample for sample in asked]
    assert [one.text for one in answers(base, other, batch_size=3)] != [one.text for one in first]
    answers(base.unshared(), asked, batch_size=3)
    assert len(decoded) > 2 * once, "a model of its own may change its processor, so nothing is kept"


def test_stacked_checkpoints_add_up(tiny_llava, checkpoints, samples, tmp_path):
    """LoRA over linear: the LoRA's layers with its own projector, and nothing of the linear one left."""
    base = load(ref(tiny_llava, checkpoints["linear"]))
    over = load(ref(tiny_llava, checkpoints["linear"])).unshared()
    from peft import LoraConfig, inject_adapter_in_model

    inject_adapter_in_model(
        LoraConfig(r=2, target_modules=r".*language_model.*k_proj", init_lora_weights=False), over.module
    )
    expected = answers(over, samples)
    top = save_checkpoint(over, tmp_path / "top", method="lora", epoch=1, step=1, config={}, data_digest="d")
    stacked = load(ref(tiny_llava, checkpoints["linear"], top))
    assert answers(stacked, samples) == expected != answers(base, samples)
    with pytest.raises(KeepsightError, match="was trained on"):
        answers(load(ref(tiny_llava, top)), samples)


def test_a_full_checkpoint_is_a_model_of_its_own(tiny_llava, checkpoints, samples):
    through = load(ref(tiny_llava, checkpoints["full"]))
    assert answers(through, samples) == answers(load(str(checkpoints["full"])), samples)
    assert answers(through, samples) != answers(load(ref(tiny_llava)), samples)


def test_many_checkpoints_leave_no_more_than_a_few_in_memory(tiny_llava, tmp_path, samples):
    from keepsight.models import overlay

    made = [make_checkpoint(tiny_llava, tmp_path / str(at), "lora", seed=at, r=1) for at in range(6)]
    first = [answers(load(ref(tiny_llava, one)), samples[:2]) for one in made]
    again = [answers(load(ref(tiny_llava, one)), samples[:2]) for one in made]
    assert first == again
    module = load(ref(tiny_llava)).module
    assert len(module.peft_config) <= overlay._RESIDENT


def test_a_plain_peft_directory_with_modules_to_save(tiny_llava, tmp_path, samples):
    import torch
    from peft import LoraConfig, get_peft_model

    model = load(str(tiny_llava)).unshared()
    config = LoraConfig(
        r=2,
        target_modules=r".*language_model.*v_proj",
        modules_to_save=["multi_modal_projector"],
        init_lora_weights=False,
    )
    wrapped = get_peft_model(model.module, config)
    with torch.no_grad():
        for parameter in model.module.model.multi_modal_projector.modules_to_save.parameters():
            parameter.add_(0.2)
    expected = answers(model, samples)
    wrapped.save_pretrained(tmp_path / "peft")
    assert answers(load(ref(tiny_llava, tmp_path / "peft")), samples) == expected


def as_peft_writes(checkpoint):
    """Without what only keepsight writes: the projector among the adapter's tensors, and no manifest."""
    from safetensors.torch import load_file

    projector = load_file(checkpoint / "projector.safetensors")
    more = {f"base_model.model.{name}": value for name, value in projector.items()}
    edit_tensors(checkpoint / "adapter_model.safetensors", lambda tensors: tensors.update(more))
    (checkpoint / "projector.safetensors").unlink()
    (checkpoint / "keepsight.json").unlink()
    return checkpoint


def test_tensor_names_from_before_transformers_4_52_find_their_place(
    tiny_llava, checkpoints, copied, samples
):
    old = as_peft_writes(copied("lora"))

    def rename(tensors):
        for name in list(tensors):
            former = name.replace("model.language_model.", "language_model.model.").replace(
                "base_model.model.model.multi", "base_model.model.multi"
            )
            tensors[former] = tensors.pop(name)

    edit_tensors(old / "adapter_model.safetensors", rename)
    load(ref(tiny_llava, old)).require_usable()
    assert answers(load(ref(tiny_llava, old)), samples) == answers(
        load(ref(tiny_llava, checkpoints["lora"])), samples
    )


# what is refused


def test_another_base_is_named(tiny_llava, checkpoints, tmp_path, samples):
    from tests.tiny_llava import make_tiny_llava

    other = make_tiny_llava(tmp_path / "other", seed=5)
    for name in ("lora", "linear", "full"):
        with pytest.raises(KeepsightError, match=f"{name} was trained on hf:{tiny_llava}.*not on hf:{other}"):
            answers(load(ref(other, checkpoints[name])), samples)


def test_shapes_of_another_base_are_named(checkpoints, copied, tmp_path, samples):
    from tests.tiny_llava import make_tiny_llava

    narrow = make_tiny_llava(tmp_path / "narrow", hidden=16)
    plain = as_peft_writes(copied("lora"))
    for ask in (lambda model: model.require_usable(), lambda model: answers(model, samples)):
        with pytest.raises(KeepsightError, match=r"multi_modal_projector\.linear_1\.\w+ has shape"):
            ask(load(ref(narrow, plain)))
    edit_tensors(
        plain / "adapter_model.safetensors",
        lambda tensors: [tensors.pop(name) for name in list(tensors) if "projector" in name],
    )
    with pytest.raises(KeepsightError, match=r"LoRA of .* does not fit: it has the shape"):
        load(ref(narrow, plain)).require_usable()
    with pytest.raises(KeepsightError, match=r"lora does not fit|lora_[AB].* has shape|size mismatch"):
        answers(load(ref(narrow, plain)), samples)


def test_the_adapter_below_is_named(tiny_llava, checkpoints, samples):
    stacked = load(ref(tiny_llava, checkpoints["lora"], checkpoints["lora2"]))
    below = f"hf:{tiny_llava}\\+adapter:{checkpoints['lora']}"
    with pytest.raises(KeepsightError, match=rf"was trained on hf:{tiny_llava} \(.*, not on {below} \("):
        stacked.require_usable()


@pytest.mark.parametrize(
    "name", ["projector.safetensors", "mm_projector.safetensors", "non_lora_trainables.safetensors"]
)
def test_a_projector_that_nothing_mentions_is_refused(tiny_llava, copied, name):
    orphan = copied("lora")
    (orphan / "keepsight.json").unlink()
    (orphan / "projector.safetensors").rename(orphan / name)
    with pytest.raises(
        KeepsightError, match=rf"holds {name} but no keepsight\.json.*bring keepsight\.json back"
    ):
        load(ref(tiny_llava, orphan))
    (orphan / name).unlink()
    load(ref(tiny_llava, orphan)).require_usable()


@pytest.mark.parametrize(
    ("name", "file", "change", "word"),
    [
        ("linear", "projector.safetensors", lambda t: t.pop("model.multi_modal_projector.linear_2.bias"), "linear_2.bias"),
        ("lora", "projector.safetensors", lambda t: t.pop("model.multi_modal_projector.linear_1.weight"), "linear_1.weight"),
        ("linear", "projector.safetensors", lambda t: t.update(stray=t["model.multi_modal_projector.linear_2.bias"] * 1), "stray"),
        ("lora", "adapter_model.safetensors", lambda t: t.pop(sorted(t)[0]), r"lacks .*q_proj|lacks .*down_proj"),
        (
            "lora",
            "adapter_model.safetensors",
            lambda t: t.update({"base_model.model.model.language_model.layers.9.mlp.up_proj.lora_A.weight": t[sorted(t)[0]] * 1}),
            r"layers\.9\.mlp\.up_proj",
        ),
        (
            "lora",
            "adapter_model.safetensors",
            lambda t: t.update({"base_model.model.model.language_model.layers.0.self_attn.k_proj.lora_A.weight": t[sorted(t)[0]] * 1}),
            "k_proj",
        ),
    ],
)  # fmt: skip
def test_missing_and_stray_tensors_are_named(
    tiny_llava, checkpoints, copied, samples, name, file, change, word
):
    base = answers(load(ref(tiny_llava)), samples)
    answers(load(ref(tiny_llava, checkpoints["lora2"])), samples)
    damaged = copied(name)
    edit_tensors(damaged / file, change)
    with pytest.raises(KeepsightError, match=word):
        answers(load(ref(tiny_llava, damaged)), samples)
    assert answers(load(ref(tiny_llava)), samples) == base, "a refused checkpoint leaves nothing behind"
    fine = answers(load(ref(tiny_llava, checkpoints[name])), samples)
    assert fine == answers(load(ref(tiny_llava, checkpoints[name])).unshared(), samples)


def pop(part):
    return lambda tensors: [tensors.pop(name) for name in list(tensors) if part in name]


def cut(part, dim=0):
    def change(tensors):
        for name in list(tensors):
            if part in name:
                tensors[name] = tensors[name].narrow(dim, 0, 1).contiguous()

    return change


PROJECTOR, ADAPTER = "projector.safetensors", "adapter_model.safetensors"


@pytest.mark.parametrize(
    ("name", "file", "change", "told"),
    [
        ("linear", PROJECTOR, pop("linear_2.bias"), r"lacks model\.multi_modal_projector\.linear_2\.bias"),
        ("linear", PROJECTOR, pop("projector"), r"lacks model\.multi_modal_projector\.linear_1\.bias"),
        ("lora", PROJECTOR, pop("linear_1.weight"), r"lacks model\.multi_modal_projector\.linear_1\.weight"),
        ("lora", PROJECTOR, cut("linear_1.bias"), r"linear_1\.bias has shape \[1\], the base has"),
        ("lora", ADAPTER, pop("layers.0.self_attn.q_proj.lora_A"), r"lacks .*layers\.0\.self_attn\.q_proj\.lora_A\.weight,"),
        ("lora", ADAPTER, pop("layers.0.self_attn.q_proj.lora_B"), r"lacks .*layers\.0\.self_attn\.q_proj\.lora_B\.weight,"),
        ("lora", ADAPTER, pop("layers.0.self_attn.q_proj"), r"lacks .*layers\.0\.self_attn\.q_proj\.lora_A\.weight,"),
        ("lora", ADAPTER, cut("layers.1.self_attn.q_proj.lora_A"), r"layers\.1\.self_attn\.q_proj .*rank 1, the other"),
        ("lora", ADAPTER, cut("layers.1.self_attn.q_proj.lora_B"), r"layers\.1\.self_attn\.q_proj .*it has the shape \[1,"),
        ("lora", ADAPTER, cut("layers.1.self_attn.q_proj.lora_A", 1), r"layers\.1\.self_attn\.q_proj .*it has the shape"),
    ],
)  # fmt: skip
def test_headers_tell_before_the_base_is_loaded(tiny_llava, copied, monkeypatch, name, file, change, told):
    from transformers import AutoModelForImageTextToText

    monkeypatch.setattr(AutoModelForImageTextToText, "from_pretrained", None)
    damaged = copied(name)
    edit_tensors(damaged / file, change)
    with pytest.raises(KeepsightError, match=f"checkpoint {damaged}.*{told}"):
        load(ref(tiny_llava, damaged)).require_usable()


@pytest.mark.parametrize("keep", [4, 100, -1])
def test_a_file_that_ends_too_early_is_noticed_at_once(tiny_llava, copied, keep):
    damaged = copied("lora")
    (damaged / ADAPTER).write_bytes((damaged / ADAPTER).read_bytes()[:keep])
    with pytest.raises(KeepsightError, match=rf"cannot read {damaged / ADAPTER}.*save it again"):
        load(ref(tiny_llava, damaged)).require_usable()


def test_what_is_whole_is_usable(tiny_llava, checkpoints, copied):
    for name in ("lora", "lora2", "linear", "full"):
        load(ref(tiny_llava, checkpoints[name])).require_usable()
    load(ref(tiny_llava, as_peft_writes(copied("lora")))).require_usable()


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("linear", "projector.safetensors"),
        ("lora", "projector.safetensors"),
        ("lora", "adapter_model.safetensors"),
    ],
)
def test_missing_files_are_named_before_anything_is_loaded(tiny_llava, copied, name, file):
    damaged = copied(name)
    (damaged / file).unlink()
    with pytest.raises(KeepsightError, match=file):
        load(ref(tiny_llava, damaged))


def test_what_is_not_a_checkpoint_is_refused(tiny_llava, copied, tmp_path):
    (tmp_path / "empty").mkdir()
    for wrong, word in ((tmp_path / "empty", "adapter_model"), (tmp_path / "none", "not a directory")):
        with pytest.raises(KeepsightError, match=word):
            load(ref(tiny_llava, wrong))
    pickled = copied("lora")
    (pickled / "non_lora_trainables.bin").write_bytes(b"\x80")
    with pytest.raises(KeepsightError, match="pickle"):
        load(ref(tiny_llava, pickled))
    newer = copied("linear")
    edit_json(newer / "keepsight.json", format=2)
    with pytest.raises(KeepsightError, match="format 2"):
        load(ref(tiny_llava, newer))


@pytest.mark.parametrize("change", ["drop", "shape"])
def test_a_base_with_a_tensor_missing_or_misshapen_is_never_asked(tiny_llava, tmp_path, samples, change):
    import torch

    damaged = shutil.copytree(tiny_llava, tmp_path / "damaged")
    name = "multi_modal_projector.linear_1.weight"

    def damage(tensors):
        del tensors[name]
        if change == "shape":
            tensors[name] = torch.zeros(3, 3)

    edit_tensors(damaged / "model.safetensors", damage)
    with pytest.raises(KeepsightError, match=r"multi_modal_projector\.linear_1\.weight"):
        answers(load(str(damaged)), samples)


# saving


def test_a_checkpoint_is_complete_and_the_same_twice(tiny_llava, checkpoints, tmp_path):
    again = make_checkpoint(tiny_llava, tmp_path / "lora", "lora", seed=1)
    for path in sorted(checkpoints["lora"].iterdir()):
        assert path.read_bytes() == (again / path.name).read_bytes(), path.name
    manifest = json.loads((again / "keepsight.json").read_text())
    assert manifest["method"] == "lora" and manifest["epoch"] == 1 and manifest["step"] == 10
    assert manifest["base_digest"] == load(str(tiny_llava)).weights_digest
    assert not list(tmp_path.glob("*.partial"))


def test_who_reads_one_file_of_a_checkpoint_reads_them_all(checkpoints):
    for path in checkpoints.values():
        assert len({file.stat().st_mode for file in path.iterdir()}) == 1


def test_saving_replaces_checkpoints_only(tiny_llava, tmp_path):
    model = load(str(tiny_llava)).unshared()
    rest = {"method": "linear", "epoch": 1, "step": 1, "config": {}, "data_digest": "d"}
    save_checkpoint(model, tmp_path / "a", **rest)
    save_checkpoint(model, tmp_path / "a", **{**rest, "epoch": 2})
    assert json.loads((tmp_path / "a" / "keepsight.json").read_text())["epoch"] == 2
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(KeepsightError, match="not a checkpoint"):
        save_checkpoint(model, tmp_path / "mine", **rest)
    with pytest.raises(KeepsightError, match="no LoRA adapter"):
        save_checkpoint(model, tmp_path / "b", **{**rest, "method": "lora"})


def test_training_an_unshared_copy_leaves_the_shared_base_alone(tiny_llava, samples):
    import torch

    shared = load(str(tiny_llava))
    before = answers(shared, samples)
    own = shared.unshared()
    with torch.no_grad():
        for parameter in own.module.parameters():
            parameter.mul_(1.5)
    assert answers(own, samples) != before
    assert answers(shared, samples) == before
    assert own.base.tower_cache is None, "nothing is remembered of weights that change"


def test_the_parts_of_a_model_are_found(tiny_llava):
    import torch

    parts = anatomy_of(load(str(tiny_llava)).module)
    assert parts.tower == "model.vision_tower"
    assert parts.projector == ("model.multi_modal_projector",)
    assert parts.language == "model.language_model"
    with pytest.raises(KeepsightError, match="no vision tower"):
        anatomy_of(torch.nn.Sequential(torch.nn.Linear(1, 1)))
