"""Mixtures: how much of each source, which samples, in what order, and a table that says so."""

import pytest

from keepsight.data.class_texts import (
    CAPTION_PROMPT,
    CLASSIFICATION_PROMPT,
    caption_samples,
    classification_samples,
)
from keepsight.data.drawn import SETS, UNTAUGHT
from keepsight.data.drawn.instructions import drawn_instructions
from keepsight.data.labelled import LabelledImage, LabelledSet
from keepsight.data.mixing import mix
from keepsight.types import KeepsightError, Media, Sample


def source(name, n):
    return [Sample(f"{name}/{i}", "?", target=(name,)) for i in range(n)]


SOURCES = {"a": source("a", 100), "b": source("b", 400), "c": source("c", 900)}


def table(mixture):
    return {one.name: one.taken for one in mixture.sources}


@pytest.mark.parametrize(
    ("arguments", "taken"),
    [
        ({}, {"a": 100, "b": 100, "c": 100}),
        ({"total": 31}, {"a": 11, "b": 10, "c": 10}),
        ({"rule": "temperature"}, {"a": 100, "b": 400, "c": 900}),
        ({"rule": "temperature", "temperature": 2, "total": 60}, {"a": 10, "b": 20, "c": 30}),
        ({"rule": "temperature", "temperature": 1e9, "total": 60}, {"a": 20, "b": 20, "c": 20}),
        ({"rule": "share", "shares": {"a": 0.5, "b": 0.5, "c": 0}}, {"a": 100, "b": 100, "c": 0}),
        (
            {"rule": "share", "shares": {"a": 0.1, "b": 0.2, "c": 0.7}, "total": 50},
            {"a": 5, "b": 10, "c": 35},
        ),
    ],
)
def test_how_much_of_each(arguments, taken):
    mixture = mix(SOURCES, **arguments)
    assert table(mixture) == taken
    assert len(mixture.samples) == sum(taken.values()) == len({sample.id for sample in mixture.samples})
    counted = {name: sum(sample.target == (name,) for sample in mixture.samples) for name in SOURCES}
    assert counted == taken and not mixture.notes


def test_an_exhausted_source_says_so_or_repeats_on_request():
    short = mix(SOURCES, total=600)
    assert table(short) == {"a": 100, "b": 200, "c": 200}
    assert short.sources[0].exhausted and "a has 100 samples, 200 were wanted" in short.notes[0]
    again = mix(SOURCES, total=750, repeat=True)
    assert table(again) == {"a": 250, "b": 250, "c": 250} and again.sources[0].repeated == 150
    ids = [sample.id for sample in again.samples if sample.target == ("a",)]
    assert (
        len(set(ids)) == 250
        and sum(i.endswith("#2") for i in ids) == 100
        and sum(i.endswith("#3") for i in ids) == 50
    )


def test_the_order_is_mixed_and_follows_from_the_seed():
    ids = [sample.id for sample in mix(SOURCES).samples]
    assert ids == [sample.id for sample in mix(SOURCES).samples]
    assert ids != [sample.id for sample in mix(SOURCES, seed=1).samples]
    shuffled = {name: list(reversed(samples)) for name, samples in reversed(SOURCES.items())}
    assert ids == [sample.id for sample in mix(shuffled).samples], (
        "the order of what is given does not matter"
    )
    firsts = [sample.target[0] for sample in mix(SOURCES).samples[:60]]
    assert all(8 < firsts.count(name) < 35 for name in SOURCES)


def test_another_source_changes_nothing_about_the_others():
    two = [sample.id for sample in mix({name: SOURCES[name] for name in "ab"}, total=100).samples]
    three = [sample.id for sample in mix(SOURCES, total=150).samples if sample.target != ("c",)]
    assert two == three


def test_a_larger_share_holds_the_smaller_one():
    sizes = [
        {sample.id for sample in mix(SOURCES, "share", shares={"a": s, "b": 1 - s, "c": 0}, total=100).samples if sample.target == ("a",)}
        for s in (0.1, 0.25, 0.5)
    ]  # fmt: skip
    assert list(map(len, sizes)) == [10, 25, 50] and sizes[0] < sizes[1] < sizes[2]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"sources": {}}, "no sources"),
        ({"sources": {"a": []}}, "source a has no samples"),
        ({"rule": "share"}, "shares go with"),
        ({"shares": {"a": 1}}, "shares go with"),
        ({"rule": "share", "shares": {"a": 1}}, "name all"),
        ({"rule": "share", "shares": {"a": 0.5, "b": 0.4, "c": 0.2}}, "add up to 1"),
        ({"rule": "share", "shares": {"a": -0.5, "b": 1.5, "c": 0}}, "below 0"),
        ({"rule": "temperature", "temperature": 0}, "above 0"),
        ({"rule": "other"}, "unknown"),
        ({"total": 0}, "at least 1"),
    ],
)
def test_what_cannot_be_mixed_is_refused(arguments, reason):
    with pytest.raises(KeepsightError, match=reason):
        mix(**{"sources": SOURCES, **arguments})


# ---- one set as two kinds of text ---------------------------------------------------------------------------------

THINGS = UNTAUGHT["things"]


def test_the_same_pictures_as_labels_or_as_captions():
    shown = THINGS.train(6)
    labels, captions = classification_samples(THINGS, shown, ("Q1", "Q2")), caption_samples(THINGS, shown)
    assert [s.prompt for s in labels] == ["Q1", "Q2"] * 3
    assert [s.target for s in labels] == [(picture.label,) for picture in shown]
    assert {s.prompt for s in captions} == {CAPTION_PROMPT}
    for label, caption, picture in zip(labels, captions, shown):
        assert label.id == caption.id and label.media == caption.media
        assert picture.label in caption.target[0] and picture.facts["colour"] in caption.target[0]
    assert classification_samples(THINGS, shown)[0].prompt == CLASSIFICATION_PROMPT


def test_a_set_without_captions_has_a_template_or_brings_its_own():
    picture = LabelledImage("x/1", Media(data=b"1"), "guinea_pig")
    pictures = LabelledSet("pets", ("guinea_pig",), {})
    assert caption_samples(pictures, [picture])[0].target == ("A photo of a guinea pig.",)
    own = caption_samples(pictures, [picture], captions={"x/1": "A guinea pig playing."})
    assert own[0].target == ("A guinea pig playing.",)
    with pytest.raises(KeepsightError, match="picture x/1 has no caption"):
        caption_samples(pictures, [picture], captions={"x/2": "?"})
    with pytest.raises(KeepsightError, match="no question"):
        classification_samples(pictures, [picture], ())


def test_instructions_over_the_drawn_sets():
    samples = drawn_instructions(20, label_prompt=lambda drawn: f"label of {drawn.name}?")
    assert len(samples) == 20 * len(SETS) == len({sample.id for sample in samples})
    asked = [sample for sample in samples if sample.prompt.startswith("label of")]
    assert len(asked) == len(samples) / 2 and all(s.target == (s.meta["label"],) for s in asked)
    polls = sum(sample.target[0] in ("Yes", "No") for sample in samples)
    assert 0.15 < polls / len(samples) < 0.4
    assert [s.id for s in drawn_instructions(5)] == [
        s.id for s in drawn_instructions(20) if int(s.id.split("/")[3]) < 5
    ]
    assert drawn_instructions(3) == drawn_instructions(3)
