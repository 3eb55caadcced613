"""States of the language model: the right layer, the right token, whatever the padding."""

import numpy as np
import pytest

from keepsight.models import load
from keepsight.models.decoding import at_rest
from keepsight.models.features import require_places, states
from keepsight.models.prompts import batch_inputs, pictures, render
from keepsight.types import KeepsightError

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("fresh_registry")]

PLACES = [(layer, at) for layer in (0, 1, 2, -1) for at in ("last", "mean", 0, 3, -1, -2)]


@pytest.fixture
def model(tiny_llava):
    return load(str(tiny_llava), device="cpu")


def read(model, samples, places=PLACES, **settings):
    found = dict(model.states(samples, places, **settings))
    assert sorted(found) == list(range(len(samples)))
    return np.stack([found[at] for at in range(len(samples))])


def padded(model, samples, side):
    """The same pass over a batch that the processor padded itself."""
    processor = model.processor
    inputs = batch_inputs(processor, [render(processor, s) for s in samples], [pictures(s) for s in samples])
    if side == "right":
        order = inputs["attention_mask"].argsort(dim=1, descending=True, stable=True)
        inputs.update({key: inputs[key].gather(1, order) for key in ("input_ids", "attention_mask")})
    with at_rest(model.module):
        return states(model.module, inputs, PLACES).numpy()


def test_neither_side_nor_company_moves_a_state(model, samples):
    asked = samples[:7]
    alone = np.concatenate([read(model, [sample]) for sample in asked])
    scale = np.abs(alone).max()
    for found in (
        read(model, asked),
        read(model, asked[::-1], batch_size=3)[::-1],
        padded(model, asked, "left"),
        padded(model, asked, "right"),
    ):
        assert np.abs(found - alone).max() < 1e-5 * max(1.0, scale)


def test_positions_and_layers_are_those_of_transformers(model, samples):
    import torch

    sample = samples[1]
    inputs = batch_inputs(model.processor, [render(model.processor, sample)], [pictures(sample)])
    with torch.inference_mode():
        hidden = model.module(**inputs, output_hidden_states=True).hidden_states
    assert len(hidden) == model.layers + 1
    for (layer, position), found in zip(PLACES, read(model, [sample])[0]):
        state = hidden[layer][0]
        expected = state.mean(dim=0) if position == "mean" else state[-1 if position == "last" else position]
        assert np.allclose(found, expected.numpy(), atol=1e-5), (layer, position)
    assert not np.allclose(*(read(model, [sample], [(layer, "last")]) for layer in (0, -1)))


@pytest.mark.parametrize(
    "places, fault",
    [
        ([(3, "last")], r"layer 3 .* has 2; give 0"),
        ([(-4, "last")], "layer -4"),
        ([(0, "first")], "'first' are unknown"),
        ([(0, 1.5)], "1.5 are unknown"),
        ([(0, True)], "True are unknown"),
    ],
)
def test_places_that_are_none_are_refused(places, fault):
    with pytest.raises(KeepsightError, match=fault):
        require_places(places, 2)


def test_a_token_that_is_not_there_is_named(model, samples):
    count = model.token_counts(samples[:2])[0]
    for at in (count, -count - 1):
        with pytest.raises(KeepsightError, match=f"sample s0: features at token {at} .* {count} tokens"):
            read(model, samples[:1], [(0, at)])


def test_states_that_are_no_numbers_are_refused(model, samples):
    import torch

    broken = model.unshared()
    with torch.no_grad():
        broken.module.model.language_model.norm.weight.fill_(float("nan"))
    with pytest.raises(KeepsightError, match=r"sample s\d: its state at layer -1, last, is not a number"):
        read(broken, samples[:1], [(0, "last"), (-1, "last")])


def test_looking_at_the_tower_asks_nothing_behind_it(model, samples, monkeypatch):
    language = model.module.model.language_model
    monkeypatch.setattr(language, "forward", lambda **_: pytest.fail("the language model was asked"))
    assert len(dict(model.features(samples[:3], part="tower"))) == 3
