"""Four rules over the same answers: what each takes for right, and that an echo of the label list is found out."""

import math

import pytest

from keepsight.scoring.inclusion import Concluding, Inclusion, OneLabel, Strict, WholeWord
from keepsight.scoring.metrics import accuracy, multiple_labels_share
from keepsight.types import KeepsightError, Output, Sample

LABELS = ("ant", "elephant", "pig", "guinea pig", "sea lion", "A", "a")
RULES = {
    "inclusion": Inclusion(),
    "whole_word": WholeWord(LABELS),
    "one_label": OneLabel(LABELS),
    "strict": Strict(LABELS),
}


def sample(target="ant", key="s"):
    return Sample(key, "What is it?", target=(target,) if target else ())


def values(target, text):
    return tuple(rule([sample(target)], [Output(text)])[0].value for rule in RULES.values())


@pytest.mark.parametrize(
    ("target", "text", "expected"),  # inclusion, whole word, one label, strict
    [
        ("ant", "ant", (1, 1, 1, 1)),
        ("ant", "An ant.", (1, 1, 1, 1)),
        ("ant", "  the ANT \n", (1, 1, 1, 1)),
        ("ant", '"ant"', (1, 1, 1, 1)),
        ("ant", "**Ant**.", (1, 1, 1, 1)),
        ("ant", "a(n) ant", (1, 1, 1, 1)),
        ("sea lion", "Sea_lion", (0, 1, 1, 1)),  # the published rule knows no underscores
        ("ant", "This is an ant on a leaf.", (1, 1, 1, 0)),
        ("ant", "elephant", (1, 0, 0, 0)),  # letters inside another word
        ("pig", "a guinea pig", (1, 0, 0, 0)),  # words inside another label
        ("ant", "an ant or an elephant", (1, 1, 0, 0)),
        ("ant", "significant", (1, 0, 0, 0)),
        ("ant", "beetle", (0, 0, 0, 0)),
        ("A", "A", (1, 1, 1, 1)),
        ("a", "A", (1, 0, 0, 0)),
        ("ant", "", (0, 0, 0, 0)),
        ("ant", ".", (0, 0, 0, 0)),
    ],
)
def test_what_each_rule_takes_for_right(target, text, expected):
    assert values(target, text) == expected


def test_an_echo_of_the_label_list_is_right_by_inclusion_and_wrong_by_the_strict_rules():
    labels = ("ant", "sea lion", "pig", "house")
    samples = [sample(label, label) for label in labels]
    echo = [Output(", ".join(labels))] * 4
    scores = {
        rule.name: rule(samples, echo)
        for rule in (Inclusion(), WholeWord(labels), OneLabel(labels), Strict(labels))
    }
    shares = {name: accuracy(samples, given).value for name, given in scores.items()}
    assert shares == {"inclusion": 1.0, "whole_word": 1.0, "one_label": 0.0, "strict": 0.0}
    several = multiple_labels_share(samples, scores["whole_word"])
    assert (several.name, several.value, several.n) == ("multiple_labels_share", 1.0, 4)


def test_the_share_of_answers_with_several_labels_leaves_failures_out():
    samples = [sample(key=str(i)) for i in range(4)]
    outputs = [Output("ant, pig"), Output("ant"), Output(""), Output("", error="broken")]
    several = multiple_labels_share(samples, WholeWord(LABELS)(samples, outputs))
    assert (several.value, several.n, several.total, several.not_ok["error"]) == (1 / 3, 3, 4, 1)
    assert math.isnan(multiple_labels_share([], []).value)


def test_silence_refusal_and_failure_are_told_apart():
    for name, rule in RULES.items():
        outputs = [Output(" "), Output("I'm sorry, I cannot identify the image."), Output("", error="broken")]
        silent, refused, broken = rule([sample()] * 3, outputs)
        assert (silent.value, silent.status) == (0.0, "unparsed")
        assert refused.status == "refused"
        assert (refused.value == 0.0) if name == "inclusion" else math.isnan(refused.value)
        assert (broken.status, broken.scored) == ("error", False)


def test_versions_depend_on_the_labels_and_names_differ():
    assert len({rule.name for rule in RULES.values()}) == 4
    assert Strict(LABELS).version == RULES["strict"].version != Strict(LABELS[:2]).version
    assert WholeWord(LABELS).version != WholeWord(LABELS[:2]).version


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_sample_without_a_target_cannot_be_judged(rule):
    with pytest.raises(KeepsightError, match="sample s has no target"):
        rule([sample("")], [Output("ant")])


class TestConcluding:
    def test_the_reasoning_is_not_read(self):
        text = "It could be a pig. Its trunk is long. The answer is elephant."
        for name, rule in RULES.items():
            (score,) = Concluding(rule, LABELS)([sample("pig")], [Output(text)])
            assert score.value == 0.0, name
        (right,) = Concluding(RULES["strict"], LABELS)([sample("elephant")], [Output(text)])
        assert (right.value, right.answer) == (1.0, "elephant")

    def test_no_conclusion_is_unparsed_even_where_inclusion_would_find_the_letters(self):
        rule = Concluding(Inclusion(), LABELS)
        (score,) = rule([sample("ant")], [Output("Something significant.")])
        assert (score.value, score.status, score.tags) == (0.0, "unparsed", ("no_conclusion",))
        (cut,) = rule([sample("ant")], [Output("It may be an ant", stop="length")])
        assert cut.status == "unparsed"

    def test_refusals_and_failures_stay_what_they_are(self):
        rule = Concluding(RULES["whole_word"], LABELS)
        outputs = [Output("I'm sorry, I cannot identify the image."), Output("", error="broken")]
        refused, broken = rule([sample()] * 2, outputs)
        assert refused.status == "refused" and not refused.scored
        assert broken.status == "error" and broken.explanation == "broken"

    def test_its_version_is_not_the_plain_scorers(self):
        rule = Concluding(RULES["strict"], LABELS)
        assert rule.name == "strict" and rule.version != RULES["strict"].version
