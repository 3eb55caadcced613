"""The same answers with and without remembered features, and never a row of another picture or setting."""

import pytest

from keepsight.models.tower_cache import DEFAULT_LIMIT, FeatureStore, TowerCache

pytestmark = pytest.mark.torch


@pytest.fixture
def tower():
    import torch
    from transformers import CLIPVisionConfig, CLIPVisionModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = CLIPVisionConfig(
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=3,
            num_attention_heads=2,
            image_size=16,
            patch_size=8,
        )
        return CLIPVisionModel(config).eval()


@pytest.fixture
def pixels():
    import torch

    return torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def flat(output):
    import torch

    parts = [output.last_hidden_state, output.pooler_output, *(output.hidden_states or ())]
    return torch.cat([part.flatten() for part in parts if part is not None])


@pytest.mark.parametrize("wanted", [False, True, -2, [0, -1]])
def test_hits_misses_and_mixtures_equal_the_tower(tower, pixels, wanted):
    import torch

    with torch.no_grad():
        plain = {rows: tower(pixels[list(rows)], output_hidden_states=wanted) for rows in ROWS}
        cache = TowerCache(tower, FeatureStore(DEFAULT_LIMIT))
        for rows in ROWS:
            got = tower(pixel_values=pixels[list(rows)], output_hidden_states=wanted)
            assert type(got) is type(plain[rows]) and list(got) == list(plain[rows])
            assert torch.allclose(flat(got), flat(plain[rows]), atol=1e-6)
    assert cache.rows_encoded == 6


ROWS = ((0, 1), (0, 1), (1, 2, 2, 0), (5, 4, 3), (3, 0, 5, 1))


def test_settings_and_dtypes_have_rows_of_their_own(tower, pixels):
    import torch

    cache = TowerCache(tower, FeatureStore(DEFAULT_LIMIT))
    with torch.no_grad():
        tower(pixels)
        assert tower(pixels, output_hidden_states=True).hidden_states is not None
        tower(pixels, interpolate_pos_encoding=True)
    assert cache.rows_encoded == 18


def test_only_equal_towers_share_rows(tower, pixels):
    import copy

    import torch

    store = FeatureStore(DEFAULT_LIMIT)
    twin, other = copy.deepcopy(tower), copy.deepcopy(tower)
    with torch.no_grad():
        next(other.parameters()).add_(0.1)
        expected = flat(other(pixels))
        caches = [TowerCache(one, store) for one in (tower, twin, other)]
        outputs = [flat(one(pixels)) for one in (tower, twin, other)]
    assert [cache.rows_encoded for cache in caches] == [6, 0, 6]
    assert torch.allclose(outputs[0], outputs[1], atol=1e-6)
    assert torch.equal(outputs[2], expected)


def test_it_stands_aside(tower, pixels):
    import torch

    cache = TowerCache(tower, FeatureStore(DEFAULT_LIMIT))
    tower(pixels).last_hidden_state.sum().backward()
    assert tower.embeddings.class_embedding.grad is not None
    cache.active = False
    with torch.no_grad():
        tower(pixels)
    assert cache.rows_encoded == 0


def test_it_does_not_hold_more_than_its_limit(tower, pixels):
    import torch

    with torch.no_grad():
        plain = flat(tower(pixels))
        one = tower(pixels[:1])
        size = one.last_hidden_state.nbytes + one.pooler_output.nbytes
        cache = TowerCache(tower, store := FeatureStore(3 * size))
        for _ in range(5):
            assert torch.allclose(flat(tower(pixels)), plain, atol=1e-6)
            assert store.used == len(store) * size <= 3 * size
            assert sorted(store._order) == sorted(store._values)
        assert 6 < cache.rows_encoded < 30, "some pictures stay although they come round in order"
        TowerCache(tower, small := FeatureStore(1))
        tower(pixels)
        assert small.used == len(small) == 0


def test_a_tower_that_is_no_map_of_rows_is_left_alone():
    import torch
    from transformers.modeling_outputs import BaseModelOutput

    class Mixing(torch.nn.Module):
        def forward(self, pixel_values):
            return BaseModelOutput(last_hidden_state=pixel_values.flatten(0, 1)[:, :1])

    tower = Mixing()
    pixels = torch.randn(2, 3, 4, 4)
    expected = tower(pixels).last_hidden_state
    TowerCache(tower, FeatureStore(DEFAULT_LIMIT))
    with torch.no_grad():
        for _ in range(2):
            assert torch.equal(tower(pixels).last_hidden_state, expected)


def test_state_and_names_stay(tower):
    before = {name: value.clone() for name, value in tower.state_dict().items()}
    TowerCache(tower, FeatureStore(DEFAULT_LIMIT))
    assert list(tower.state_dict()) == list(before)


def test_answers_are_the_same_without_it(tiny_llava, samples, fresh_registry):
    from keepsight.models import load
    from tests.models.conftest import answers

    remembered = load(str(tiny_llava))
    first = answers(remembered, samples, batch_size=4)
    assert answers(remembered, samples, batch_size=4) == first
    assert remembered.base.tower_cache.rows_encoded == 5
    plain = answers(remembered.unshared(), samples, batch_size=4)
    assert [output.text for output in plain] == [output.text for output in first]


def test_a_checkpoint_that_changes_the_tower_is_not_served_from_memory(
    tiny_llava, samples, tmp_path, fresh_registry
):
    from keepsight.models import load
    from tests.models.conftest import answers, make_checkpoint

    inside = make_checkpoint(
        tiny_llava, tmp_path / "inside", "lora", seed=9, targets=r".*vision_tower.*(q_proj|fc1)"
    )
    base, tuned = load(str(tiny_llava)), load(f"hf:{tiny_llava}+adapter:{inside}")
    plain = answers(base, samples)
    assert answers(tuned, samples) == answers(tuned.unshared(), samples)
    assert base.base.tower_cache.rows_encoded == 5
    assert answers(base, samples) == plain
    assert base.base.tower_cache.rows_encoded == 5
