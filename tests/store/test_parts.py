"""Journals of other ranks: taken over once, whatever was killed in between."""

import pytest

from keepsight.evaluate import evaluate, unanswered
from keepsight.store import Store, sample_hash
from keepsight.store.parts import part_files, read_part
from keepsight.types import KeepsightError, Output
from tests.fake_vlm import FakeVLM, make_task, samples
from tests.killing import Fate, in_child
from tests.store.test_round_trip import identity_of

SAMPLES = samples(6)
IDENTITY = identity_of(SAMPLES)


def opened(store: Store):
    return store.open_run(IDENTITY, {"exact": "1"}, {})


def answer(store: Store, rank: int, places: dict[int, Output]):
    """What a rank leaves behind."""
    with store.open_part(IDENTITY, store.run_dir(IDENTITY), rank) as part:
        for place, output in places.items():
            part.add_output(place, SAMPLES[place], output)


@pytest.fixture
def store(tmp_path):
    with opened(Store(tmp_path)) as writer:
        writer.add_output(0, SAMPLES[0], Output("zero"))
    return Store(tmp_path)


def answers(store: Store) -> dict[str, str]:
    return {doc_id: output.text for (doc_id, _), output in store.answers(IDENTITY).items()}


def test_the_next_writer_takes_over_what_ranks_left_and_removes_it(store):
    answer(store, 1, {1: Output("one"), 2: Output("two")})
    answer(store, 12, {3: Output("three")})
    run = store.run_dir(IDENTITY)
    assert list(part_files(run)) == [1, 12] and list(read_part(part_files(run)[12])) == ["s003"]
    before = answers(store)
    assert before == {"s000": "zero", "s001": "one", "s002": "two", "s003": "three"}
    with opened(store) as writer:
        assert [writer.answered(sample) is not None for sample in SAMPLES] == [True] * 4 + [False] * 2
    assert part_files(run) == {} and answers(store) == before


def test_a_journal_that_is_found_again_after_a_kill_is_taken_once(store):
    run = store.run_dir(IDENTITY)
    answer(store, 1, {1: Output("one"), 2: Output("", error="broken")})
    left = (run / "outputs.rank-1.jsonl").read_bytes()
    for _ in range(2):
        with opened(store) as writer:
            writer.merge_parts()
        (run / "outputs.rank-1.jsonl").write_bytes(
            left
        )  # killed after the rows were written, before it was removed
    with opened(store):
        pass
    assert (run / "outputs.jsonl").read_bytes().count(b"\n") == 3


def test_killed_wherever_a_merge_touches_the_disk_no_answer_is_lost(quick_disk):
    def left_by_ranks(name: str) -> Store:
        store = Store(quick_disk / name)
        with opened(store) as writer:
            writer.add_output(0, SAMPLES[0], Output("zero"))
        answer(store, 1, {1: Output("one"), 2: Output("two")})
        answer(store, 2, {3: Output("three")})
        return store

    def merge(store: Store) -> None:
        with opened(store):
            pass

    counted = left_by_ranks("merge-counted")
    points = in_child(lambda: merge(counted), Fate(quick_disk)).passed
    wanted = answers(counted)
    assert len(wanted) == 4 and part_files(counted.run_dir(IDENTITY)) == {}
    for point in range(1, points + 1):
        store = left_by_ranks(f"merge-{point}")
        assert in_child(lambda store=store: merge(store), Fate(quick_disk, point)).killed
        assert answers(store) == wanted, point
        merge(store)
        assert answers(store) == wanted and part_files(store.run_dir(IDENTITY)) == {}, point
        rows = (store.run_dir(IDENTITY) / "outputs.jsonl").read_bytes()
        assert rows.count(b"\n") == 4, point


@pytest.mark.parametrize(
    ("first", "second", "counts"),
    [
        (Output("", error="broken"), Output("mended"), "mended"),
        (Output("answered"), Output("", error="broken"), "answered"),
        (Output("answered"), Output("again"), "answered"),
    ],
)
def test_an_answer_stands_against_an_error_and_against_a_later_answer(store, first, second, counts):
    answer(store, 1, {4: first})
    with opened(store):
        pass
    answer(store, 2, {4: second})
    with opened(store) as writer:
        found = writer.answered(SAMPLES[4])
    assert found is not None and found.text == counts


def test_a_torn_last_line_is_no_answer(store):
    answer(store, 1, {1: Output("one"), 2: Output("two")})
    part = store.run_dir(IDENTITY) / "outputs.rank-1.jsonl"
    part.write_bytes(part.read_bytes()[:-7])
    with opened(store) as writer:
        assert writer.merge_parts() == {} and writer.answered(SAMPLES[2]) is None
        assert writer.answered(SAMPLES[1]) is not None


def test_a_damaged_line_is_named_and_nothing_is_removed(store):
    answer(store, 1, {1: Output("one")})
    part = store.run_dir(IDENTITY) / "outputs.rank-1.jsonl"
    part.write_bytes(b"{}\n" + part.read_bytes())
    with pytest.raises(KeepsightError, match=r"outputs\.rank-1\.jsonl, line 1"), opened(store):
        pass
    assert part.exists()


def test_another_limit_finds_answers_that_were_never_merged(tmp_path):
    """A run of ten samples was killed; twenty are asked now: another run, the same checkpoint."""
    store, task = Store(tmp_path), make_task(samples(10))
    evaluate(FakeVLM(), task, store)
    (run,) = store.runs()
    lines = (run / "outputs.jsonl").read_bytes().splitlines(keepends=True)
    (run / "outputs.jsonl").write_bytes(b"".join(lines[:4]))
    (run / "outputs.rank-3.jsonl").write_bytes(b"".join(lines[4:]))
    larger = make_task(samples(12))
    assert [sample.id for sample in unanswered(FakeVLM(), larger, store)] == ["s010", "s011"]
    model = FakeVLM()
    evaluate(model, larger, store)
    assert model.asked == ["s010", "s011"]
    assert sample_hash(SAMPLES[0]) == IDENTITY.sample_hashes[0]
