"""A digest is cheap, and moves with every file and setting that can move an answer."""

import shutil
import subprocess
import sys

import pytest

from keepsight.data.digests import file_digest
from keepsight.models import load
from keepsight.models.identity import _NAMES, model_files

pytestmark = pytest.mark.torch  # the fixtures build models; the digests themselves are tested to need none


def flip_last_byte(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_every_file_and_setting_counts(tiny_llava, tmp_path):
    copy = shutil.copytree(tiny_llava, tmp_path / "copy")
    seen = {load(str(tiny_llava)).digest}
    assert load(str(copy)).digest in seen, "the place does not count"
    files = model_files(copy)
    assert {path.name for path in files} == {path.name for path in tiny_llava.iterdir()}
    for path in files:
        before = path.read_bytes()
        path.write_bytes(before + b"\n")
        seen.add(load(str(copy)).digest)
        path.write_bytes(before)
    flip_last_byte(copy / "model.safetensors")
    seen.add(load(str(copy)).digest)
    for settings in (
        {"dtype": "bfloat16"},
        {"image_backend": "torchvision"},
        {"chat_template": "{{ messages }}"},
        {"trust_remote_code": True},
    ):
        seen.add(load(str(tiny_llava), **settings).digest)
    assert len(seen) == 1 + len(files) + 1 + 4
    assert load(str(tiny_llava), dtype="float32").digest == load(str(tiny_llava)).digest, "said or meant"


# What loaders read, written down a second time, so that none is lost in passing.
READ = {
    "config.json", "generation_config.json", "processor_config.json", "preprocessor_config.json",
    "video_preprocessor_config.json", "tokenizer.json", "tokenizer_config.json", "tokenizer.model",
    "special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt",
    "chat_template.json", "keepsight.json", "adapter_config.json",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(READ | {"chat_template.jinja", "a.model", "a.spm", "b.safetensors"}))
def test_every_file_that_a_loader_reads_counts_by_its_name(tiny_llava, tmp_path, name):
    """One that the fixture's model happens to lack, too."""
    copy = shutil.copytree(tiny_llava, tmp_path / "copy")
    before = (copy / name).read_bytes() if (copy / name).exists() else b""
    seen = {load(str(copy)).digest}
    for blanks in (b"\n", b"\n\n"):
        (copy / name).write_bytes(before + blanks)
        seen.add(load(str(copy)).digest)
    assert len(seen) == 3


def test_no_name_counts_without_a_test():
    assert _NAMES == READ


def test_checkpoints_count(tiny_llava, checkpoints, tmp_path):
    copy = shutil.copytree(checkpoints["lora"], tmp_path / "copy")
    ref = f"hf:{tiny_llava}+adapter:{copy}"
    digests = [load(str(tiny_llava)).digest, load(ref).digest]
    for path in sorted(copy.iterdir()):
        before = path.read_bytes()
        if path.suffix == ".json":
            path.write_bytes(before + b"\n")
        else:
            flip_last_byte(path)
        digests.append(load(ref).digest)
        path.write_bytes(before)
    both = [f"hf:{tiny_llava}+adapter:{copy}+adapter:{checkpoints['linear']}"]
    both += [f"hf:{tiny_llava}+adapter:{checkpoints['linear']}+adapter:{copy}"]
    digests += [load(one).digest for one in both]
    assert len(set(digests)) == len(digests) == 8


def test_other_files_do_not_count(tiny_llava, tmp_path):
    copy = shutil.copytree(tiny_llava, tmp_path / "copy")
    (copy / "README.md").write_text("x")
    (copy / "trainer_state.json").write_text("{}")
    shutil.copytree(tiny_llava, copy / "checkpoint-500")
    assert load(str(copy)).digest == load(str(tiny_llava)).digest


def test_a_digest_needs_neither_torch_nor_weights(tiny_llava, checkpoints):
    code = (
        "import sys; from keepsight.models import load;"
        f"m = load('hf:{tiny_llava}+adapter:{checkpoints['lora']}');"
        "print(m.name, m.digest);"
        "heavy = {'torch', 'transformers', 'peft', 'safetensors'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    model = load(f"hf:{tiny_llava}+adapter:{checkpoints['lora']}")
    assert done.stdout.split() == [model.name, model.digest]


def test_a_changed_file_is_read_again(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"one")
    first = file_digest(path)
    path.write_bytes(b"two")
    assert file_digest(path) != first


def test_a_built_model_is_known_by_its_tensors(tiny_llava, samples):
    import torch

    from tests.models.conftest import answers

    loaded = load(str(tiny_llava)).unshared()
    built = load((loaded.module, loaded.processor))
    assert built.name == "built:LlavaForConditionalGeneration"
    before = built.digest
    assert answers(built, samples) == answers(loaded, samples)
    assert (
        built.digest == before
    )  # asking changes nothing, though a tokenizer remembers how it was last called
    with torch.no_grad():
        loaded.module.lm_head.weight.data[3, 3] += 1  # as an optimiser or a merge would, behind our back
    assert built.digest != before


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_dtypes_are_obeyed(tiny_llava, samples, dtype):
    from tests.models.conftest import answers

    model = load(str(tiny_llava), dtype=dtype)
    assert str(model.module.dtype) == f"torch.{dtype}"
    assert all(output.error is None for output in answers(model, samples))
