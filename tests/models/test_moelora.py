"""MoELoRA is the sum over experts that the paper writes, LoRA with one expert, and an adapter like any other of peft's."""

import json
import shutil
from dataclasses import asdict

import pytest

from keepsight.models import load
from keepsight.models.gates import GateUse, read_gates, write_gates
from keepsight.types import KeepsightError
from tests.models.conftest import answers, make_checkpoint

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("fresh_registry")]

D_IN, D_OUT, RANK, EXPERTS = 24, 20, 12, 4


@pytest.fixture(autouse=True)
def same_start():
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def adapted(adapter=None, dtype=None, **settings):
    """A linear layer with a MoELoRA whose B is not zero: (module, its layer). `adapter` in its place, if given."""
    import torch
    from peft import inject_adapter_in_model

    from keepsight.models.moelora import MoELoraConfig

    settings = {"r": RANK, "lora_alpha": 18, "target_modules": ["layer"], "num_experts": EXPERTS, **settings}
    torch.manual_seed(1)
    module = torch.nn.ModuleDict({"layer": torch.nn.Linear(D_IN, D_OUT)}).to(dtype or torch.float32)
    inject_adapter_in_model(adapter or MoELoraConfig(**settings), module)
    torch.manual_seed(2)  # a gate is drawn after all the rest
    torch.nn.init.normal_(module["layer"].lora_B["default"].weight)
    return module, module["layer"]


def tokens(*shape):
    import torch

    return torch.randn(*(shape or (2, 7)), D_IN)


def by_the_paper(layer, x, total=1.0, adapter="default"):
    """Eq. 4 and 5, expert by expert."""
    import torch

    inner, outer = layer.lora_A[adapter].weight, layer.lora_B[adapter].weight
    gates = torch.softmax(x @ layer.lora_router[adapter].weight.T, dim=-1)
    cut = RANK // EXPERTS
    update = sum(
        gates[..., i, None] * (x @ inner[i * cut : (i + 1) * cut].T @ outer[:, i * cut : (i + 1) * cut].T)
        for i in range(EXPERTS)
    )
    return layer.base_layer(x) + layer.lora_alpha[adapter] / RANK * total * update


@pytest.mark.parametrize(("gate_scale", "total"), [("softmax", 1), ("softmax*N", EXPERTS)])
def test_it_is_the_sum_over_experts_forward_and_backward(gate_scale, total):
    import torch

    _, layer = adapted(gate_scale=gate_scale)
    x = tokens().requires_grad_()
    weight = tokens()[..., :D_OUT]
    trained = [x, *(getattr(layer, name)["default"].weight for name in ("lora_A", "lora_B", "lora_router"))]
    ours, theirs = layer(x), by_the_paper(layer, x, total)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    for mine, other in zip(*(torch.autograd.grad((y * weight).sum(), trained) for y in (ours, theirs))):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-5)
        assert mine.abs().max() > 1e-2


@pytest.mark.parametrize("alpha", [24, 18, 7])
def test_with_one_expert_every_bit_is_loras(alpha):
    from peft import LoraConfig

    lora = LoraConfig(r=RANK, lora_alpha=alpha, lora_dropout=0.2, target_modules=["layer"])
    found = []
    for settings in ({"adapter": lora}, {"num_experts": 1, "lora_alpha": alpha, "lora_dropout": 0.2}):
        module, layer = adapted(**settings)
        x = tokens().requires_grad_()
        output = layer(x)
        (output * tokens()[..., :D_OUT]).sum().backward()
        gradients = {name: value.grad for name, value in module.named_parameters() if value.grad is not None}
        found.append((output, x.grad, gradients))
    (output, x, lora_gradients), (ours, our_x, our_gradients) = found
    assert output.equal(ours) and x.equal(our_x)
    router = our_gradients.pop("layer.lora_router.default.weight")  # there, so that DDP does not wait for it
    assert router.count_nonzero() == 0
    assert lora_gradients.keys() == our_gradients.keys() and len(lora_gradients) == 2
    assert all(value.equal(our_gradients[name]) for name, value in lora_gradients.items())


def test_it_starts_as_the_base_and_gates_are_float32():
    import torch

    _, layer = adapted(dtype=torch.bfloat16)
    x, gate = tokens().bfloat16(), layer.lora_router["default"]
    wanted = torch.softmax(x.float() @ gate.weight.float().T, dim=-1)
    for half in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            assert gate(x).dtype == torch.float32 and layer(x).dtype == torch.bfloat16
            torch.testing.assert_close(gate(x), wanted)
    torch.nn.init.zeros_(layer.lora_B["default"].weight)
    assert layer(x).equal(layer.base_layer(x))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"num_experts": None}, "num_experts must be a whole number from 1, it is None"),
        ({"num_experts": 0}, "num_experts must be"),
        ({"num_experts": "8"}, "num_experts must be .* it is '8'"),
        ({"num_experts": True}, "num_experts must be"),
        ({"num_experts": 5}, "rank 12 cannot be cut into 5 experts"),
        ({"rank_pattern": {"layer": 6}}, "rank 6 cannot be cut into 4 experts"),
        ({"gate_scale": "N"}, r"gate_scale 'N' is none of softmax, softmax\*N"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights 'pissa' is for plain LoRA only"),
        ({"lora_bias": True}, "a bias has no expert"),
        ({"use_dora": True}, "plain LoRA; layer is with another LoRA variant"),
    ],
)
def test_what_cannot_be_is_refused(settings, told):
    with pytest.raises(ValueError, match=told):
        adapted(**settings)


def test_layers_that_are_not_linear_are_refused():
    import torch
    from peft import inject_adapter_in_model

    from keepsight.models.moelora import MoELoraConfig

    module = torch.nn.ModuleDict({"layer": torch.nn.Embedding(5, 4)})
    with pytest.raises(ValueError, match="layer is a Embedding of peft's"):
        inject_adapter_in_model(MoELoraConfig(r=4, num_experts=2, target_modules=["layer"]), module)


def test_an_older_peft_is_named(monkeypatch):
    from peft.tuners.tuners_utils import BaseTuner

    from keepsight.models import moelora

    for known in (moelora.LoraModel, BaseTuner):
        monkeypatch.delattr(known, "_get_adapter_state_dict", raising=False)
    with pytest.raises(KeepsightError, match=r"needs peft 0\.21"):
        moelora._register()


def test_merging_is_refused_unless_it_is_exact():
    import torch

    _module, layer = adapted(gate_scale="softmax*N")
    x, before = tokens(), layer.base_layer.weight.clone()
    for safe in (False, True):
        with pytest.raises(ValueError, match="cannot be merged: its gates differ from token to token"):
            layer.merge(safe_merge=safe)
    assert layer.base_layer.weight.equal(before) and not layer.merged
    with torch.no_grad():
        layer.lora_router["default"].weight[:] = torch.randn(D_IN)  # the same for every expert
    apart = layer(x)
    assert (apart - layer.base_layer(x)).abs().max() > 0.1
    for safe in (False, True):
        layer.merge(safe_merge=safe)
        torch.testing.assert_close(layer.base_layer(x), apart, rtol=1e-5, atol=1e-5)
        layer.unmerge()
        torch.testing.assert_close(layer.base_layer.weight, before, rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def llama():
    """A small language model, as its config."""
    from transformers import LlamaConfig

    return LlamaConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, vocab_size=30
    )


def language_model(config):
    import torch
    from transformers import LlamaForCausalLM

    torch.manual_seed(3)
    return LlamaForCausalLM(config).eval()


def wrapped(config, name="default", **settings):
    """The language model in peft's wrapper, its adapter changed at random."""
    from peft import get_peft_model

    from keepsight.models.moelora import MoELoraConfig

    settings = {"r": 8, "num_experts": 4, "target_modules": ["q_proj", "down_proj"], **settings}
    model = get_peft_model(language_model(config), MoELoraConfig(**settings), adapter_name=name)
    shake(model)
    return model.eval()


def shake(model, part="lora_B"):
    import torch

    for name, parameter in model.named_parameters():
        if part in name:
            torch.nn.init.normal_(parameter)


def test_peft_saves_reads_switches_and_merges_it(llama, tmp_path):
    import torch
    from peft import PeftModel

    from keepsight.models.moelora import MoELoraConfig

    ids = torch.randint(30, (2, 6))
    bare = language_model(llama)(ids).logits
    model = wrapped(llama)
    first = model(ids).logits
    assert (first - bare).abs().max() > 1e-3
    with model.disable_adapter():
        assert model(ids).logits.equal(bare)
    model.save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "adapter_config.json").read_text())
    assert [settings[name] for name in ("peft_type", "num_experts", "gate_scale")] == [
        "MOELORA",
        4,
        "softmax",
    ]
    for low_memory in (False, True):
        again = PeftModel.from_pretrained(language_model(llama), tmp_path, low_cpu_mem_usage=low_memory)
        assert again.eval()(ids).logits.equal(first)
    further = MoELoraConfig(r=6, num_experts=2, gate_scale="softmax*N", target_modules=["q_proj", "v_proj"])
    model.add_adapter("second", further)
    model.set_adapter("second")
    shake(model)
    second = model.eval()(ids).logits
    assert (second - first).abs().max() > 1e-3
    trained = {name.split(".lora_")[1] for name, value in model.named_parameters() if value.requires_grad}
    assert trained == {f"{part}.second.weight" for part in ("A", "B", "router")}
    model.delete_adapter("second")
    shake(model.base_model.model.model.layers[1])
    with pytest.raises(ValueError, match="cannot be combined"):
        model.add_weighted_adapter(["default"], [1.0], "sum")
    with pytest.raises(ValueError, match="cannot be merged"):
        model.merge_and_unload()
    for name, parameter in model.named_parameters():
        if "lora_router" in name:
            torch.nn.init.zeros_(parameter)
    even = model(ids).logits
    torch.testing.assert_close(model.merge_and_unload()(ids).logits, even, rtol=1e-4, atol=1e-5)


def test_generating_with_a_cache_and_without_is_the_same(llama):
    import torch

    model, ids = wrapped(llama), torch.randint(5, 30, (2, 6))
    settings = {
        "max_new_tokens": 5,
        "do_sample": False,
        "pad_token_id": 0,
        "attention_mask": torch.ones_like(ids),
    }
    cached, plain = (model.generate(input_ids=ids, use_cache=cache, **settings) for cache in (True, False))
    assert cached.equal(plain) and cached.shape[1] > 6


def test_gradients_are_the_same_with_checkpointing(llama):
    import torch

    ids, found = torch.randint(30, (2, 6)), []
    for spared in (False, True):
        torch.manual_seed(0)
        model = wrapped(llama, lora_dropout=0.1).train()
        if spared:
            model.base_model.model.gradient_checkpointing_enable({"use_reentrant": False})
        torch.manual_seed(5)
        model(input_ids=ids, labels=ids).loss.backward()
        found.append({name: value.grad for name, value in model.named_parameters() if value.requires_grad})
    assert all(value.equal(found[1][name]) and value.abs().max() > 0 for name, value in found[0].items())


def test_a_mixture_and_plain_lora_live_on_one_layer():
    """Whichever comes first: an audit puts both on the same base."""
    import torch
    from peft import LoraConfig, inject_adapter_in_model

    from keepsight.models.moelora import MoELoraConfig

    plain = LoraConfig(r=6, target_modules=["layer"])
    mixture = MoELoraConfig(r=RANK, lora_alpha=18, num_experts=EXPERTS, target_modules=["layer"])
    x = tokens()
    for order in ((("plain", plain), ("mixture", mixture)), (("mixture", mixture), ("plain", plain))):
        module = torch.nn.ModuleDict({"layer": torch.nn.Linear(D_IN, D_OUT)})
        for name, config in order:
            inject_adapter_in_model(config, module, name)
        shake(module)
        layer = module["layer"]
        layer.set_adapter(["mixture"])
        mixed = by_the_paper(layer, x, adapter="mixture")
        torch.testing.assert_close(layer(x), mixed, rtol=1e-5, atol=1e-5)
        layer.set_adapter(["plain", "mixture"])
        lora = layer.lora_B["plain"](layer.lora_A["plain"](x)) * layer.scaling["plain"]
        torch.testing.assert_close(layer(x), mixed + lora, rtol=1e-5, atol=1e-5)


# checkpoints


@pytest.fixture(scope="module")
def mixtures(tiny_llava, tmp_path_factory):
    """Two MoELoRA checkpoints, of other ranks and numbers of experts, and a plain LoRA."""
    root = tmp_path_factory.mktemp("mixtures")
    return {
        "four": make_checkpoint(tiny_llava, root / "four", "moelora", seed=1, r=8, num_experts=4),
        "two": make_checkpoint(tiny_llava, root / "two", "moelora", seed=2, r=6, num_experts=2),
        "lora": make_checkpoint(tiny_llava, root / "lora", "lora", seed=3),
    }


def ref(base, *adapters):
    return "+adapter:".join([f"hf:{base}", *map(str, adapters)])


def test_an_audit_switches_between_mixtures_lora_and_base(tiny_llava, mixtures, samples, monkeypatch):
    from keepsight.models import bases
    from keepsight.models.lanes import Lanes

    refs = [ref(tiny_llava, *([] if name is None else [mixtures[name]])) for name in (None, *mixtures)]
    refs.append(f"{refs[3]}+adapter:{mixtures['four']}")
    apart = [answers(load(one).unshared(), samples) for one in refs[:4]]
    assert len({str(one) for one in apart}) == 4
    for at in (0, 1, 3, 2, 0, 3, 1):
        model = load(refs[at])
        model.require_usable()
        assert answers(model, samples) == apart[at]
    monkeypatch.setattr(bases, "lanes_for", lambda module, device, common: Lanes(module, 2, common))
    load(ref(tiny_llava)).base._lanes = None
    for at in (1, 3, 2):
        both = zip(answers(load(refs[at]), samples, batch_size=2), apart[at])
        assert all(beside.token_ids == one.token_ids for beside, one in both)


def test_a_checkpoint_says_what_it_is(mixtures):
    manifest = json.loads((mixtures["four"] / "keepsight.json").read_text())
    assert manifest["method"] == "moelora" and manifest["trained"][-1] == "lora"
    from safetensors.torch import load_file

    shapes = {name: list(value.shape) for name, value in load_file(mixtures["four"] / ADAPTER).items()}
    assert {tuple(shape) for name, shape in shapes.items() if "router" in name} == {(4, 32), (4, 64)}


ADAPTER, CONFIG = "adapter_model.safetensors", "adapter_config.json"


def edited(directory, **changes):
    path = directory / CONFIG
    settings = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({name: value for name, value in settings.items() if value is not None}))


def changed(change):
    def damage(directory):
        from safetensors.torch import load_file, save_file

        tensors = load_file(directory / ADAPTER)
        for name in [name for name in tensors if "layers.1.self_attn.q_proj.lora_router" in name]:
            change(tensors, name)
        save_file(tensors, directory / ADAPTER)

    return damage


@pytest.mark.parametrize(
    ("damage", "told", "told_by_the_base"),
    [
        (lambda d: edited(d, num_experts=None), "does not say num_experts", "num_experts must be"),
        (lambda d: edited(d, gate_scale=None), "does not say gate_scale", None),
        (lambda d: edited(d, num_experts=2), r"gate has the shape \[4, 64\], the experts need \[2, 64\]", "does not fit the base"),
        (lambda d: edited(d, num_experts=3), r"the experts need \[3, 64\]", "cannot be cut into 3"),
        (lambda d: edited(d, use_dora=True), None, "plain LoRA; .* is with another LoRA variant"),
        (lambda d: edited(d, peft_type="LORA"), None, "has tensors with no place"),
        (lambda d: edited(d, peft_type="MOE_LORA_CoIN"), None, "unknown peft_type 'MOE_LORA_CoIN'"),
        (changed(lambda t, name: t.pop(name)), r"lacks .*layers\.1\.self_attn\.q_proj\.lora_router", r"lacks .*lora_router"),
        (changed(lambda t, name: t.update({name: t[name][:, :5].contiguous()})), r"gate has the shape \[4, 5\]", "does not fit the base"),
    ],
)  # fmt: skip
def test_damaged_gates_are_named(tiny_llava, mixtures, tmp_path, samples, damage, told, told_by_the_base):
    """From the headers, before a base is loaded; and by the base itself, which is left bare."""
    bare = answers(load(ref(tiny_llava)), samples[:1])
    broken = shutil.copytree(mixtures["four"], tmp_path / "broken")
    damage(broken)
    if told:
        with pytest.raises(KeepsightError, match=f"{broken}.*{told}"):
            load(ref(tiny_llava, broken)).require_usable()
    if told_by_the_base:
        with pytest.raises(KeepsightError, match=f"{broken}.*{told_by_the_base}"):
            answers(load(ref(tiny_llava, broken)), samples[:1])
    assert answers(load(ref(tiny_llava)), samples[:1]) == bare


# how gates are used


def gates_by_hand(model, samples):
    """Every gate of every token of prompts asked one by one: layer -> [tokens, N]."""
    import torch

    seen = {}
    module = model.module
    hooks = [
        layer.register_forward_hook(
            lambda _, given, __, name=name, layer=layer: seen.setdefault(name, []).append(
                torch.softmax(given[0][0] @ layer.lora_router[layer.active_adapters[-1]].weight.T, dim=-1)
            )
        )
        for name, layer in module.named_modules()
        if "lora_router" in layer._modules
    ]
    with torch.no_grad():
        for sample in samples:
            batch = model.training_batch([sample])
            length = int((batch["labels"] != -100).nonzero()[0, 1])  # up to the answer
            inputs = {name: value[:, :length] if value.dim() == 2 else value for name, value in batch.items()}
            inputs.pop("labels")
            module(**inputs)
    for hook in hooks:
        hook.remove()
    return {name: torch.cat(parts) for name, parts in seen.items()}


def test_gates_are_counted_over_tokens_and_not_over_padding(tiny_llava, mixtures, samples, tmp_path):
    import torch

    model = load(ref(tiny_llava, mixtures["four"]))
    use = model.gates(samples, task="pets", batch_size=3)
    by_hand = gates_by_hand(model, samples)
    assert use.layers == tuple(by_hand) and use.num_experts == 4 and len(use.layers) == 4
    assert (use.task, use.samples, use.tokens) == ("pets", 8, len(by_hand[use.layers[0]]))
    for at, gates in enumerate(by_hand.values()):
        assert use.mean_gate[at] == pytest.approx(gates.mean(dim=0).tolist(), abs=1e-5)
        assert use.entropy[at] == pytest.approx(-(gates * gates.log()).sum(dim=1).mean().item(), abs=1e-5)
        share = torch.bincount(gates.argmax(dim=1), minlength=4) / len(gates)
        assert use.top[at] == pytest.approx(share.tolist(), abs=1e-6)
    assert model.gates(samples[::-1]).mean_gate[0] == pytest.approx(use.mean_gate[0], abs=1e-6)
    write_gates(tmp_path / "gates.json", [use, use])
    assert read_gates(tmp_path / "gates.json") == [use, use]
    routers = [part for name, part in model.module.named_modules() if "lora_router." in name]
    assert len(routers) == 4 and not any(router._forward_hooks for router in routers)


def test_gates_that_do_not_choose_have_the_entropy_of_all(tiny_llava, tmp_path, samples):
    import math

    even = make_checkpoint(tiny_llava, tmp_path / "even", "moelora", seed=1, r=8, num_experts=4, even=True)
    use = load(ref(tiny_llava, even)).gates(samples[:2])
    assert use.entropy == pytest.approx([math.log(4)] * 4) and use.mean_gate[0] == pytest.approx([0.25] * 4)


def test_without_a_mixture_or_samples_there_are_no_gates(tiny_llava, mixtures, samples, broken):
    both = load(ref(tiny_llava, mixtures["four"]))
    both.gates(samples[:1])
    for model in (load(ref(tiny_llava)), load(ref(tiny_llava, mixtures["lora"]))):
        with pytest.raises(KeepsightError, match="wears no MoELoRA"):
            model.gates(samples[:1])
    with pytest.raises(KeepsightError, match="no samples"):
        both.gates([])
    with pytest.raises(KeepsightError, match="cannot decode picture"):
        both.gates([*samples, broken])


USE = GateUse("hf:a", "t", 1, 2, ("x",), ((0.5, 0.5),), (0.7,), ((1.0, 0.0),))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "cannot read"),
        ("[]", "damaged"),
        ('{"format": 2, "gates": []}', "has format 2, this version reads 1"),
        ('{"format": 1, "gates": [{}]}', "damaged .*checkpoint"),
        (json.dumps({"format": 1, "gates": [{**asdict(USE), "entropy": []}]}), "one row per layer"),
        (json.dumps({"format": 1, "gates": [{**asdict(USE), "layers": []}]}), "one row per layer"),
    ],
)
def test_a_damaged_file_of_gates_is_named(tmp_path, text, told):
    path = tmp_path / "gates.json"
    path.write_text(text)
    with pytest.raises(KeepsightError, match=told) as error:
        read_gates(path)
    assert str(path) in str(error.value)
