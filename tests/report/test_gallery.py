import math
from dataclasses import replace

from keepsight.report.comparisons import read_audit
from keepsight.report.gallery import Caps, build_gallery, headline_values, judges_disagree, read_as
from keepsight.types import Media, Output, Record, Sample, Score
from tests.report.fake_audit import small_audit


def gallery_of(matrix, caps=None):
    audit = read_audit(matrix)
    cells = [(row, col) for row in range(len(matrix.rows)) for col in range(len(matrix.cols))]
    caps = caps or Caps.for_matrix(len(matrix.rows), len(matrix.cols))
    return build_gallery(matrix, {cell: audit.reference_rows(*cell) for cell in cells}, caps)


def lost(demo, row, col):
    before, now = headline_values(demo["base", col]), headline_values(demo[row, col])
    return {key for key in before if before[key] > now[key]}


def test_every_cell_gets_its_share(demo):
    gallery = gallery_of(demo)
    for col, name in enumerate(demo.cols):
        shown = {sample["id"] for sample in gallery.samples[col]}
        for row in demo.rows[1:]:
            here = lost(demo, row, name)
            assert len(shown & here) >= min(24, len(here)), (row, name)


def test_classes_take_turns(demo):
    gallery = gallery_of(demo, Caps(lost=6, gained=0, disputed=0))
    letters = demo.cols.index("emt:letters")
    first = [sample["target"][0] for sample in gallery.samples[letters][:6]]
    assert len(set(first)) == 6


def test_a_picture_is_embedded_once_with_its_whole_history(demo):
    gallery = gallery_of(demo)
    samples = [sample for part in gallery.samples.values() for sample in part]
    assert len(gallery.album.uris) == len(set(gallery.album.uris)) <= len(samples)
    assert all(list(sample["said"]) == list(range(len(demo.rows))) for sample in samples)
    assert all(
        set(word["scores"]) == {"label", "embedding", "llm", "taxonomy"}
        for word in samples[0]["said"].values()
    )
    assert len(gallery.texts) == 2 * len(demo.cols), "one prompt and one label list per set"


def test_budgets_bound_the_page(demo):
    full = gallery_of(demo)
    few = gallery_of(demo, Caps(picture_bytes=full.album.size // 4))
    assert few.album.size < full.album.size // 2
    assert all(few.samples.values()), "every set keeps some"
    brief = gallery_of(demo, Caps(answer_bytes=full.answers_size // 4))
    assert brief.answers_size < full.answers_size // 2


def test_caps_shrink_with_the_matrix():
    assert Caps.for_matrix(7, 7) == Caps()
    assert Caps.for_matrix(30, 60).lost < Caps.for_matrix(10, 20).lost < 24
    assert Caps.for_matrix(1000, 1000).lost >= 1


def test_long_answers_are_cut_and_the_cut_is_told():
    matrix = small_audit({("base", "x"): ["cat", "dog", "ship"], ("a", "x"): ["3" * 5000, "dog", "ship"]})
    word = gallery_of(matrix).samples[0][0]["said"][1]
    assert word["text"].endswith("… (3,000 more characters in the run's outputs.jsonl)")


def test_broken_and_absent_pictures_leave_a_note():
    matrix = small_audit({("base", "x"): ["cat", "dog", "ship"], ("a", "x"): ["3", "3", "3"]})
    media = [(Media(data=b"no picture"),), (Media("audio", data=b"a sound"),), ()]
    runs = {
        cell: replace(
            run,
            records=tuple(
                replace(record, sample=replace(record.sample, media=part))
                for record, part in zip(run.records, media)
            ),
        )
        for cell, run in matrix.runs.items()
    }
    gallery = gallery_of(replace(matrix, runs=runs))
    assert gallery.album.uris == [""]
    assert "not a picture in a known format" in gallery.album.notes[0]
    assert [len(sample["pictures"]) for sample in gallery.samples[0]] == [1, 0, 0]


def test_unscored_is_neither_lost_nor_gained(demo):
    values = [value for run in demo.runs.values() for value in headline_values(run).values()]
    assert any(math.isnan(value) for value in values)
    gallery = gallery_of(demo, Caps(disputed=0))
    for col, part in gallery.samples.items():
        for sample in part:
            words = [word["scores"]["label"]["value"] for word in sample["said"].values()]
            known = {word for word in words if word is not None}
            assert known == {0.0, 1.0}, (col, sample["id"], "some checkpoint was right and some was wrong")


def test_judges_disagree(demo):
    records = [record for run in demo.runs.values() for record in run.records]
    split = [record for record in records if judges_disagree(record)]
    assert split and all(
        len({s.value for name, s in record.scores.items() if name != "taxonomy" and s.scored}) == 2
        for record in split
    )


def test_a_judge_that_read_only_the_raw_answer_does_not_repeat_it():
    sample = Sample("1", "?", target=("moon",), choices=("moon", "star"))
    for text, answer, told in (
        ("The object object", "The object object", None),
        ("The object \n", "The object", None),
        ("a moon", "moon", "moon"),
        ("moon", "moon", "moon"),
        ("a moon", None, None),
    ):
        score = Score(0.0, answer)
        assert read_as(Record(sample, Output(text), {"llm": score}), score) == told, text
