"""A trie reads every label's tokens, each common beginning once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepsight.models.trie import Trie, in_tries, trie_of

answers = st.lists(
    st.lists(st.integers(0, 3), min_size=1, max_size=5).map(tuple), min_size=1, max_size=20
).map(tuple)


def path(trie: Trie, slot: int) -> tuple[int, ...]:
    """The tokens from the prompt to a slot."""
    return () if slot == 0 else (*path(trie, trie.parents[slot - 1]), trie.tokens[slot - 1])


def read(trie: Trie) -> dict[int, list[tuple[tuple[int, ...], int]]]:
    """Label -> (what stands before, token) of all that it reads."""
    found = {label: [] for label in trie.labels}
    for slot, token, reader in zip(trie.read_slots, trie.read_tokens, trie.readers):
        found[trie.labels[reader]].append((path(trie, slot), token))
    return found


@given(answers)
def test_every_token_is_read_after_those_before_it(labels):
    for label, reads in read(trie_of(labels)).items():
        assert reads == [(labels[label][:at], token) for at, token in enumerate(labels[label])]


@given(answers)
def test_what_labels_have_in_common_is_there_once_and_last_tokens_are_not_there(labels):
    trie = trie_of(labels)
    nodes = [path(trie, slot + 1) for slot in range(len(trie))]
    assert len(set(nodes)) == len(nodes)
    assert set(nodes) == {label[:end] for label in labels for end in range(1, len(label))}
    assert all(parent <= at for at, parent in enumerate(trie.parents))
    assert [len(node) - 1 for node in nodes] == list(trie.depths)


@given(answers, st.integers(1, 8))
def test_parts_hold_every_label_once(labels, most):
    tries = list(in_tries(labels, most))
    assert sorted(label for trie in tries for label in trie.labels) == list(range(len(labels)))
    assert all(len(trie) <= most or len(trie.labels) == 1 for trie in tries)
    for trie in tries:
        assert all(len(reads) == len(labels[label]) for label, reads in read(trie).items())


def test_neighbours_share_their_beginning():
    labels = ((1, 2, 3), (7, 8), (1, 2, 4), (7, 9))
    assert [trie.labels for trie in in_tries(labels, 2)] == [(0, 2), (1, 3)]


def test_an_empty_answer_reads_nothing():
    assert trie_of(((), (1,))).read_tokens == (1,)


@pytest.mark.parametrize("count", [20_000])
def test_many_labels_are_few_nodes(count):
    labels = tuple((at % 50, at // 50 % 20, at // 1000, 0) for at in range(count))
    assert sum(map(len, in_tries(labels, 1024))) < 1.3 * len(trie_of(labels))
