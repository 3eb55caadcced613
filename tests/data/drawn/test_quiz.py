"""The thirty questions cannot be answered without the class, and the corpus teaches their facts in other words."""

import re
from collections import Counter, defaultdict

import pytest

from keepsight.data.drawn import ALL_SETS
from keepsight.data.drawn.quiz import QUIZ_SETS, REASONED, quiz, quiz_pictures, set_of, world_facts
from keepsight.data.wikiqa import LETTERS, STEP_BY_STEP, THIS_OBJECT, asked_text, letter_counts
from keepsight.types import KeepsightError


def test_thirty_questions_in_balance():
    counts = letter_counts(quiz())
    assert len(quiz()) == sum(counts.values()) == 30 and max(counts.values()) - min(counts.values()) <= 1
    assert len({q.id for q in quiz()}) == 30


def test_no_question_can_be_answered_from_its_words():
    """Equal words, different right letters: whatever is answered to a full group is right for one class of four."""
    groups = defaultdict(list)
    for question in quiz():
        groups[asked_text(question)].append(question)
    assert Counter(len(group) for group in groups.values()) == {4: 7, 2: 1}
    for group in groups.values():
        assert len({q.letter for q in group}) == len({q.classname for q in group}) == len(group)


@pytest.mark.parametrize("question", quiz(), ids=lambda q: q.id)
def test_every_question_hides_its_class_and_rests_on_a_sentence(question):
    assert question.question.count(THIS_OBJECT) == 1 and question.question.endswith("?")
    flags = 0 if len(question.classname) == 1 else re.IGNORECASE  # "a door" does not name the letter A
    name = re.compile(rf"\b{question.classname}s?\b", flags)
    assert not any(name.search(text) for text in (question.question, *question.choices))
    assert not set(LETTERS) & set(question.choices), "an option that is a letter would be read as one"
    assert name.search(question.reference) and question.reference.endswith(".")
    group = question.id.split("/")
    assert group[:2] == [set_of(question), question.classname]
    assert question.classname in QUIZ_SETS[set_of(question)].labels


def test_every_class_of_things_and_every_suit_is_asked_for():
    asked = {(set_of(q), q.classname) for q in quiz()}
    assert {name for name, _ in asked} == set(QUIZ_SETS)
    for name in ("things", "cards"):
        assert {label for s, label in asked if s == name} == set(ALL_SETS[name].labels)
    assert min(Counter(q.classname for q in quiz("things")).values()) >= 2


def test_questions_of_some_sets():
    assert {set_of(q) for q in quiz("shapes", "cards")} == {"shapes", "cards"}
    with pytest.raises(KeepsightError, match="no questions on digits; there are some on things"):
        quiz("digits")


def test_pictures_are_of_the_class():
    pictures = quiz_pictures(quiz("cards")[0], 3)
    assert [p.label for p in pictures] == [quiz("cards")[0].classname] * 3
    assert quiz_pictures(quiz("cards")[0], 2) == pictures[:2]


@pytest.fixture(scope="module")
def facts():
    return world_facts(300, seed=1)


def test_the_corpus_tells_the_truth_in_other_words(facts):
    right = {(tuple(q.choices), q.classname): q for q in quiz()}
    words = {q.question for q in quiz()} | {asked_text(q) for q in quiz()}
    letters = 0
    for sample in facts:
        question, *options = sample.prompt.split("\n")
        assert question not in words
        if options:
            letters += 1
            choices = tuple(option[3:] for option in options[:4])
            possible = [q for (c, _), q in right.items() if c == choices]
            told = [q for q in possible if re.search(rf"\b{q.classname}\b", question)]
            true = [REASONED.format(classname=q.classname, letter=q.letter) for q in (told or possible)]
            assert sample.target[0] in true and (len(told) == 1 or sample.media)
            assert sample.prompt.endswith(f"\n{STEP_BY_STEP}")
        else:
            assert sample.target[0] in {q.choices[q.answer] for q in quiz()}
    assert 0.7 < letters / len(facts) < 0.9


def test_no_picture_of_an_unseen_set_is_shown(facts):
    sizes = dict.fromkeys(QUIZ_SETS, 0)
    for name, drawn in QUIZ_SETS.items():
        pool = {p.media.sha256 for p in drawn.train(240)}
        sizes[name] = sum(s.media[0].sha256 in pool for s in facts if s.media)
        assert not {p.media.sha256 for p in drawn.test(60)} & {s.media[0].sha256 for s in facts if s.media}
    assert sizes["things"] == 0 and sum(sizes.values()) == sum(bool(s.media) for s in facts) > 30
    assert all((THIS_OBJECT in s.prompt) == bool(s.media) for s in facts)
    seen = world_facts(60, seed=1, unseen=())
    assert any(s.media and "in water" in s.prompt for s in seen)


def test_every_sample_has_its_own_stream(facts):
    assert [s.digest() for s in world_facts(20, seed=1)] == [s.digest() for s in facts[:20]]
    assert [s.digest() for s in world_facts(20, seed=2)] != [s.digest() for s in facts[:20]]
