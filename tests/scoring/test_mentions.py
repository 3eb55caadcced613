"""Counting mentions: whole words wherever they stand, one count per sentence, and the same as the matcher of answers."""

from random import Random

import pytest

from keepsight.scoring.labels import LabelMatcher
from keepsight.scoring.mentions import MentionCounter, sentences, together
from keepsight.types import KeepsightError

LABELS = ("pig", "guinea pig", "potter's wheel", "St. Bernard", "crane (bird)", "jack-o'-lantern", "fish", "can", "A", "colt's foot", "house", "box")  # fmt: skip


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("a dog", ()),
        ("fish", ("fish",)),  # the published join missed names at either end
        ("Fish swim here", ("fish",)),
        ("here swims a FISH!", ("fish",)),
        ("fishing, a fisherman, selfish", ()),
        ("Two guinea-pigs in boxes", ("guinea pig", "box")),
        ("a pig and a guinea pig", ("pig", "guinea pig")),
        ("guinea, pig", ("pig",)),
        ("a potter’s wheel", ("potter's wheel",)),
        ("the potters wheel", ("potter's wheel",)),
        ("our St. Bernard", ("St. Bernard",)),
        ("our st bernards", ("St. Bernard",)),
        ("a crane", ("crane (bird)",)),
        ("cranes (bird)", ("crane (bird)",)),
        ("a jack-o’-lantern", ("jack-o'-lantern",)),
        ("colt's foot", ("colt's foot",)),
        ("I can see it", ()),
        ("a can of 3.5 fish", ("can", "fish")),
        ("A house isn't here", ("house",)),
        ("the letter A", ("A",)),
        ("a naïve fish", ("fish",)),
        ("", ()),
    ],
)
def test_whole_words_wherever_they_stand(text, named):
    assert MentionCounter(LABELS).labels_in(text) == set(named)


def test_it_names_what_the_matcher_of_answers_names():
    matcher, counter = LabelMatcher(LABELS), MentionCounter(LABELS)
    rng = Random("mentions")
    words = [*["a", "the", "pig", "Guinea", "guinea", "pigs", "potter's", "wheel", "St", ".", "Bernard", ",", "bernard", "crane", "(bird)", "FISH", "can", "I", "see", "is", "A", "letter", "colt’s", "foot", "-", "houses", "box", "3.5", "don't", "of"], "jack-o'-lantern"]  # fmt: skip
    named = 0
    for _ in range(1200):
        text = " ".join(words[int(rng.random() * len(words))] for _ in range(int(1 + 9 * rng.random())))
        found = {mention.label for mention in matcher.match(text)}
        assert counter.labels_in(text) == found, text
        named += len(found)
    assert named > 1200


def test_overlap_is_a_choice():
    assert MentionCounter(LABELS, "all").labels_in("guinea pigs") == {"pig", "guinea pig"}
    assert MentionCounter(LABELS).labels_in("guinea pigs") == {"guinea pig"}
    assert MentionCounter(["A", "fish"], "all").labels_in("a fish, A or B") == {"A", "fish"}
    with pytest.raises(KeepsightError, match="give longest or all"):
        MentionCounter(LABELS, "some")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("One. Two? Three", ["One.", "Two?", "Three"]),
        ("a dog .\na cat .", ["a dog .", "a cat ."]),
        ("a St. Bernard. It barks", ["a St. Bernard.", "It barks"]),
        ("by J. Smith. See e.g. here", ["by J. Smith.", "See e.g. here"]),
        ("It costs 3.50 here", ["It costs 3.50 here"]),
        ('He said "no." Then', ['He said "no."', "Then"]),
        ("鱼。猫", ["鱼。", "猫"]),
        (" \n ", []),
    ],
)
def test_sentences(text, parts):
    assert list(sentences(text)) == parts


def test_a_class_counts_once_per_sentence_and_once_per_document():
    counter = MentionCounter(["fish", "cup"])
    counter.add(["A fish, a fish, fish. Fish!", "What? A fish."])
    counter.add(["Nothing."])
    counter.add_fault("line 3: not JSON")
    counts = counter.counts("corpus")
    assert counts.sentences == {"fish": 3, "cup": 0} and counts.documents == {"fish": 1, "cup": 0}
    assert (counts.n_sentences, counts.n_documents, counts.n_bad) == (5, 2, 1)
    assert counts.bad == ("line 3: not JSON",)
    both = together([counts, counts])
    assert both.sentences == {"fish": 6, "cup": 0} and both.n_documents == 4 and both.n_bad == 2


def test_only_like_counts_are_added_up():
    one, other = (MentionCounter(labels).counts(labels[0]) for labels in (["fish"], ["cup"]))
    with pytest.raises(KeepsightError, match="count both alike"):
        together([one, other])
    with pytest.raises(KeepsightError, match="no corpus"):
        together([])


def test_synonyms_count_for_their_label():
    assert MentionCounter(["cup"], synonyms={"cup": ["mug"]}).labels_in("two mugs") == {"cup"}
