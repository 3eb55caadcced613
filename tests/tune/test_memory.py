"""What is kept of earlier stages: how much, which samples, and that later stages have no say in it."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepsight.errors import UsageError
from keepsight.tune.methods import METHODS, Stage
from keepsight.tune.methods.memory import chosen, earlier_samples
from keepsight.types import Sample


def stage(name, size):
    return Stage(name, [Sample(f"{name}-{i}", "?", target=("!",)) for i in range(size)])


def ids(samples):
    return [sample.id for sample in samples]


sizes = st.lists(st.integers(0, 12), min_size=1, max_size=5)


@given(sizes, st.integers(0, 30), st.integers(0, 3))
def test_a_budget_is_used_up_evenly_and_only_shrinks(sizes, budget, seed):
    stages = [stage(str(i), size) for i, size in enumerate(sizes)]
    kept = earlier_samples(stages, share=1.0, budget=budget, seed=seed)
    before = {}
    for position, memory in enumerate(kept):
        parts = {s.name: [i for i in ids(memory) if i.split("-")[0] == s.name] for s in stages[:position]}
        assert len(memory) == min(budget, sum(sizes[:position])) == sum(map(len, parts.values()))
        short = [len(parts[s.name]) for s in stages[:position] if len(parts[s.name]) < len(s.samples)]
        assert not short or max(map(len, parts.values())) - min(short) <= 1
        assert all(set(part) <= set(before.get(name, part)) for name, part in parts.items())
        before = parts


@given(sizes, st.floats(0, 1), st.integers(0, 3))
def test_what_is_kept_does_not_depend_on_what_comes_later_or_on_order(sizes, share, seed):
    stages = [stage(str(i), size) for i, size in enumerate(sizes)]
    kept = earlier_samples(stages, share=share, budget=None, seed=seed)
    assert earlier_samples(stages[:-1], share=share, budget=None, seed=seed) == kept[:-1]
    mixed = [Stage(s.name, Random(1).sample(s.samples, len(s.samples))) for s in stages]
    again = earlier_samples(mixed, share=share, budget=None, seed=seed)
    assert [set(ids(memory)) for memory in again] == [set(ids(memory)) for memory in kept]


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20))
def test_a_smaller_memory_is_part_of_a_larger_one(size, few, more):
    samples = stage("a", size).samples
    small, large = (ids(chosen(samples, count, 0)) for count in sorted((few, more)))
    assert set(small) <= set(large) and len(small) == min(size, few, more)
    assert large == [i for i in ids(samples) if i in set(large)], "in their order"


@pytest.mark.parametrize(
    ("share", "size", "kept"),
    [(0.05, 200, 10), (0.05, 3, 1), (0.07, 100, 7), (0.1, 30, 3), (0, 9, 0), (1, 9, 9), (0.05, 0, 0)],
)
def test_a_share_is_rounded_up(share, size, kept):
    two = [stage("a", size), stage("b", 1)]
    assert [len(m) for m in earlier_samples(two, share=share, budget=None, seed=0)] == [0, kept]


def test_another_seed_keeps_others():
    samples = stage("a", 100).samples
    first, second = (set(ids(chosen(samples, 20, seed))) for seed in (0, 1))
    assert len(first & second) < 12


def test_replay_learns_them_again_and_agem_looks_at_them():
    stages = [stage("a", 40), stage("b", 20), stage("c", 3)]
    replayed = METHODS["replay"](share=0.1).arrange(stages)
    assert [len(s.samples) for s in replayed] == [40, 20 + 4, 3 + 4 + 2] and not replayed[2].memory
    held = METHODS["agem"](share=0.1).arrange(stages)
    assert [s.samples for s in held] == [s.samples for s in stages]
    assert [list(s.memory) for s in held] == [s.samples[len(o.samples) :] for s, o in zip(replayed, stages)]
    assert len(METHODS["replay"](budget=7).arrange(stages)[2].samples) == 3 + 7


def test_multitask_is_one_stage_of_all():
    (one,) = METHODS["multitask"]().arrange([stage("a", 2), stage("b", 1)])
    assert (one.name, one.task, ids(one.samples)) == ("all", None, ["a-0", "a-1", "b-0"])


@pytest.mark.parametrize("settings", [{"budget": 1.5}, {"budget": -1}, {"share": 1.1}, {"share": "half"}])
@pytest.mark.parametrize("name", ["replay", "agem"])
def test_sizes_that_are_none(name, settings):
    with pytest.raises(UsageError, match=rf"^method {name}: {next(iter(settings))} must be"):
        METHODS[name](**settings)
