"""The text-embedding judge, with an embedder that can be read: counts of letters."""

import math

import numpy as np
import pytest

from keepsight.data.drawn import ALL_SETS
from keepsight.scoring.judges.embedding import PHRASES, EmbeddingJudge
from keepsight.types import KeepsightError, Output, Sample


class LetterCounts:
    """Embeds a text as its letter counts; keeps every text it was asked for."""

    name, digest = "letters", "0" * 64

    def __init__(self):
        self.asked = []

    def embed_texts(self, texts):
        self.asked.extend(texts)
        return np.array(
            [[text.lower().count(chr(97 + index)) for index in range(26)] for text in texts], dtype=float
        )


def judge(judge_, *answers, truth="cat"):
    samples = [Sample(f"s{index}", "p", target=(truth,)) for index in range(len(answers))]
    return judge_(samples, [Output(answer) for answer in answers])


@pytest.mark.parametrize("normalise", [True, False])
def test_the_nearest_phrase_wins(normalise):
    scores = judge(
        EmbeddingJudge(LetterCounts(), ["cat", "dog", "bird"], "{label}", normalise=normalise),
        "act",
        "god",
        "cart",
    )
    assert [(score.value, score.answer) for score in scores] == [(1, "cat"), (0, "dog"), (1, "cat")]


def test_nearest_is_the_argmin_of_l2():
    rng = np.random.default_rng(0)
    rows = {text: rng.normal(size=8) for text in ("one", "two", "three", "x", "y", "z")}
    embedder = type(
        "Table", (), {"name": "t", "digest": "d", "embed_texts": lambda self, texts: [rows[t] for t in texts]}
    )()
    labels = ("one", "two", "three")
    scores = judge(EmbeddingJudge(embedder, labels, "{label}", normalise=False), "x", "y", "z", truth="one")
    for text, score in zip("xyz", scores):
        assert score.answer == min(labels, key=lambda label: np.linalg.norm(rows[label] - rows[text]))


def test_normalising_can_change_the_verdict():
    long = "cat cat cat dog"
    near = [
        judge(EmbeddingJudge(LetterCounts(), ["cat", "dog"], normalise=flag), long)[0]
        for flag in (True, False)
    ]
    assert [score.answer for score in near] == ["cat", "cat"]
    rows = {"a1": [1.0, 0.0], "b1": [6.0, 6.0], "x": [2.0, 1.9]}
    embedder = type(
        "Table", (), {"name": "t", "digest": "d", "embed_texts": lambda self, texts: [rows[t] for t in texts]}
    )()
    answers = [
        judge(EmbeddingJudge(embedder, ["a1", "b1"], "{label}", normalise=flag), "x", truth="a1")[0].answer
        for flag in (True, False)
    ]
    assert answers == ["b1", "a1"]


def test_the_phrase_is_formatted_and_labels_are_text():
    embedder = LetterCounts()
    judge(EmbeddingJudge(embedder, ["guinea_pig", "dog"], "The object is a {label}."), "pig", truth="dog")
    assert embedder.asked == ["pig"] or embedder.asked[:2] == [
        "The object is a guinea pig.",
        "The object is a dog.",
    ]
    assert "The object is a guinea pig." in embedder.asked


def test_each_text_is_embedded_once():
    embedder = LetterCounts()
    scorer = EmbeddingJudge(embedder, ["cat", "dog"], "{label}")
    judge(scorer, "a cat", "a cat", " a cat ", "a dog")
    judge(scorer, "a bird")
    assert sorted(embedder.asked) == sorted(["cat", "dog", "a cat", "a dog", "a bird"])


def test_an_answer_too_close_to_call_is_counted_and_not_guessed():
    plain, careful = (
        EmbeddingJudge(LetterCounts(), ["cat", "dog"], "{label}", margin) for margin in (0.0, 0.2)
    )
    assert judge(plain, "cat dog")[0].status == "ok"
    score = judge(careful, "cat dog")[0]
    assert (score.value, score.answer, score.status) == (0.0, None, "unparsed")
    assert "too close" in score.explanation
    assert judge(careful, "cat")[0].value == 1


def test_an_empty_answer_is_not_embedded():
    embedder = LetterCounts()
    assert [score.status for score in judge(EmbeddingJudge(embedder, ["cat", "dog"]), "", "  \n")] == [
        "unparsed"
    ] * 2
    assert embedder.asked == []


def test_an_embedding_without_direction_is_a_failed_judge():
    score = judge(EmbeddingJudge(LetterCounts(), ["cat", "dog"]), "123")[0]
    assert score.status == "judge_failed"
    assert math.isnan(score.value)


def test_failed_outputs_are_errors():
    scorer = EmbeddingJudge(LetterCounts(), ["cat", "dog"])
    scores = scorer(
        [Sample(f"s{i}", "p", target=("cat",)) for i in range(2)], [Output("", error="broken"), Output("cat")]
    )
    assert (scores[0].status, scores[0].explanation) == ("error", "broken")
    assert scores[1].value == 1


def test_settings_are_checked_and_versioned():
    with pytest.raises(KeepsightError, match="label"):
        EmbeddingJudge(LetterCounts(), ["cat", "dog"], "a photo")
    with pytest.raises(KeepsightError, match="'a photo' does not contain"):
        EmbeddingJudge(LetterCounts(), ["cat", "dog"], ["{label}", "a photo"])
    with pytest.raises(KeepsightError, match="no phrase given"):
        EmbeddingJudge(LetterCounts(), ["cat", "dog"], [])
    with pytest.raises(KeepsightError, match="two labels"):
        EmbeddingJudge(LetterCounts(), ["cat"])
    bad = type(
        "Flat", (), {"name": "flat", "digest": "d", "embed_texts": lambda self, texts: [1.0] * len(texts)}
    )()
    with pytest.raises(KeepsightError, match="shape"):
        judge(EmbeddingJudge(bad, ["cat", "dog"]), "cat")
    made = [
        EmbeddingJudge(LetterCounts(), ["cat", "dog"], **settings)
        for settings in (
            {},
            {"phrase": "a {label}"},
            {"phrase": "{label}"},
            {"margin": 0.1},
            {"normalise": False},
        )
    ]
    assert len({scorer.version for scorer in made}) == 5
    one, listed = (
        EmbeddingJudge(LetterCounts(), ["cat", "dog"], form) for form in ("a {label}", ["a {label}"])
    )
    assert one.version == listed.version


def test_a_label_is_as_near_as_the_nearest_of_its_forms():
    rows = {"cat": [0.0, 9.0], "dog": [1.0, 0.0], "a cat": [0.0, 1.0], "a dog": [9.0, 0.0], "x": [0.0, 1.5]}
    embedder = type(
        "Table", (), {"name": "t", "digest": "d", "embed_texts": lambda self, texts: [rows[t] for t in texts]}
    )()
    said = [
        judge(EmbeddingJudge(embedder, ["cat", "dog"], forms, normalise=False), "x")[0]
        for forms in ("{label}", ("{label}", "a {label}"))
    ]
    assert [score.answer for score in said] == ["dog", "cat"]
    assert "cat at 0.500, dog at 1.803" in said[1].explanation


def test_a_capital_begins_a_label_and_changes_nothing_else():
    embedder = LetterCounts()
    judge(EmbeddingJudge(embedder, ["sea LION", "dog"], ["{Label}"]), "x", truth="dog")
    assert {"Sea LION", "Dog"} < set(embedder.asked)


@pytest.mark.torch
@pytest.mark.parametrize("name", ALL_SETS)
def test_the_shipped_embedder_reads_right_answers_however_they_are_worded(name):
    """With bare labels alone, correct sentences score .08 (letters) to 1 (colours)."""
    from keepsight.models import load_embedder

    labels = [label.replace("_", " ") for label in ALL_SETS[name].labels]
    scorer = EmbeddingJudge(load_embedder("tiny"), labels)
    samples = [Sample(label, "p", target=(label,)) for label in labels]
    wordings = (*PHRASES, "It is a {label}.", "The image shows a {label}.", "The object is a {label}.")
    for wording in wordings:
        said = [
            wording.replace("{label}", label).replace("{Label}", label[0].upper() + label[1:])
            for label in labels
        ]
        right = [score.value for score in scorer(samples, [Output(text) for text in said])]
        assert sum(right) >= 0.95 * len(right), (wording, dict(zip(labels, right)))
