"""The recipe of the embedded model: every stage runs, and what it trains on is what the model will be asked."""

import json

import pytest

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def processor():
    from recipes.tiny_world.vocabulary import make_processor, make_tokenizer

    return make_processor(make_tokenizer())


MADE = ["clip/model", "text", "mixed/model", "llava/model", "ssl/model"]


def test_every_stage_runs_and_what_is_lost_comes_back_the_same(tmp_path):
    """A stage whose output is there is not run again; one whose output is gone makes the same bytes anew."""
    from recipes.tiny_world.__main__ import main

    main(["--tiny", "--output_path", str(tmp_path)])
    claims = json.loads((tmp_path / "claims.json").read_text())
    assert {"holds", "does_not_hold", "no_evidence"} >= {claim["verdict"] for claim in claims}
    assert any(claim["claim"].startswith("scenes: recall") for claim in claims)
    assert (tmp_path / "index.html").exists()
    files = {name: tmp_path / f"{name}.safetensors" for name in MADE}
    bytes_before = {name: file.read_bytes() for name, file in files.items()}
    written = files["clip/model"].stat().st_mtime_ns
    for name in MADE[1:]:
        files[name].unlink()
    main(["--tiny", "--stages", "tower,text,language,binding,ssl", "--output_path", str(tmp_path)])
    assert files["clip/model"].stat().st_mtime_ns == written
    assert {name: file.read_bytes() for name, file in files.items()} == bytes_before


def test_a_packed_turn_is_the_prompt_that_the_processor_makes(processor):
    from random import Random

    from PIL import Image

    from keepsight.data.drawn import SETS
    from recipes.tiny_world.mixture import judge_turn, picture_turns
    from recipes.tiny_world.packing import Packer, Turn

    packer = Packer(processor.tokenizer)
    for name, drawn in SETS.items():
        picture = drawn.test(1)[0]
        turns = picture_turns(picture, Random(name), packer, 150, closed=1.0)
        assert len(turns) > 2
        ids, _, _, blocks = packer._row(packer.image_prefix, turns, True)
        for number, turn in enumerate(turns, 1):
            content = [{"type": "image"}, {"type": "text", "text": turn.question}]
            text = _dialogue(processor, content, turn.answer)
            expected = processor(images=Image.fromarray(picture.pixels), text=text).input_ids[0]
            mine = [i for i, block in zip(ids, blocks) if block in (0, number)]
            assert mine == list(expected)
    judged = judge_turn(Random(1))
    text = _dialogue(
        processor, [{"type": "text", "text": judged.question.removeprefix("USER: ")}], judged.answer
    )
    ids, *_ = packer._row((packer.bos,), [judged], True)
    assert ids == processor.tokenizer(text, add_special_tokens=False).input_ids
    assert packer.length(Turn("Is it red?", "No")) == len(
        packer._row((), [Turn("Is it red?", "No")], True)[0]
    )


def _dialogue(processor, content, answer):
    messages = [
        {"role": "user", "content": content},
        {"role": "assistant", "content": [{"type": "text", "text": answer}]},
    ]
    return processor.apply_chat_template(messages)


def test_packed_turns_are_answered_as_if_each_stood_alone(processor):
    """The block mask: logits of a turn do not depend on the turns packed beside it."""
    import torch

    from recipes.tiny_world.language import make_llava
    from recipes.tiny_world.packing import Packer, Turn, answers_loss
    from recipes.tiny_world.vision import make_clip

    model = make_llava(make_clip(processor.tokenizer), processor.tokenizer, 0).eval()
    packer = Packer(processor.tokenizer)
    turns = [
        Turn("Is there a moon?", "Yes"),
        Turn("What color is the moon?", "red"),
        Turn("Where is the cup?", "upper left"),
    ]
    features = torch.randn(1, 16, 128)
    with torch.no_grad():
        alone = [
            answers_loss(model, packer.pack([packer.image_prefix], [[turn]]), features)[0] for turn in turns
        ]
        counts = [len(packer.encode(f" {turn.answer}")) + 1 for turn in turns]
        together = answers_loss(model, packer.pack([packer.image_prefix], [turns]), features)[0]
    expected = sum(loss * n for loss, n in zip(alone, counts)) / sum(counts)
    assert torch.allclose(together, expected, atol=1e-5)


def test_the_judge_is_taught_yes_and_no_alike():
    from random import Random

    from recipes.tiny_world.mixture import judge_turn

    turns = [judge_turn(Random(i)) for i in range(400)]
    assert 0.4 < sum(turn.answer == "Yes" for turn in turns) / 400 < 0.6
