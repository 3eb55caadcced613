"""A build asks Figure 6 and Figure 7, keeps what passes, counts the rest, and asks nothing twice."""

import json
import re
from collections import Counter

import pytest

from keepsight.building import (
    FILTER_NAMED,
    FILTER_UNNAMED,
    GENERATE,
    build_questions,
    plan_questions,
    read_pages,
)
from keepsight.data.drawn import ALL_SETS
from keepsight.data.wikiqa import LETTERS, letter_counts, read_wikiqa
from keepsight.data.written import SCHEMA
from keepsight.types import KeepsightError, Output
from tests.fake_judge import ScriptedJudge

PAGES = {
    "fish": "A fish lives in water. It has fins. It swims. It lays eggs. It breathes with gills.",
    "cup": "A cup has a handle. It holds tea. It is made of clay. It stands on a table. One drinks from it.",
}
TOPICS = ("home", "parts", "motion", "origin", "air")


def made(classname, topics=TOPICS, **changes):
    """Five questions as a model would write them."""
    return [
        {
            "question": f"What is the {topic} of this object?",
            "choices": [f"{topic} {i} of a {classname}?" if i == 2 else f"{topic} {i}" for i in range(4)],
            "answer": 2,
            "reference": PAGES.get(classname, "").split(".")[0],
            **changes,
        }
        for topic in topics
    ]


def kind(prompt):
    if prompt.startswith("Come up with"):
        return "repair" if "Your last reply cannot be used" in prompt else "make"
    return "unnamed" if "Try your best to guess" in prompt else "named"


def right_letter(prompt):
    """The letter of the option that the fake writer marks."""
    return next(m[1] for m in re.finditer(r"^([A-D])\. (.*)$", prompt, re.MULTILINE) if m[2].endswith("?"))


def classname_of(prompt):
    return re.search(r"questions for a (.*) to examine", prompt)[1]


def wrong(letter):
    return LETTERS[(LETTERS.index(letter) + 1) % 4]


class Writer(ScriptedJudge):
    """Writes good questions; answers rightly with the class name and wrongly without, unless told otherwise."""

    def __init__(self, make=None, named=None, unnamed=None, repair=None):
        self.prompts = []
        replies = {
            "make": make or (lambda prompt: json.dumps(made(classname_of(prompt)))),
            "named": named or right_letter,
            "unnamed": unnamed or (lambda prompt: wrong(right_letter(prompt))),
        }
        replies["repair"] = repair or replies["make"]

        def reply(sample, seed):
            self.prompts.append(sample.prompt)
            return replies[kind(sample.prompt)](sample.prompt)

        super().__init__(reply)

    @property
    def kinds(self):
        return Counter(kind(prompt) for prompt in self.prompts)


def test_the_prompts_are_the_figures():
    """The words of Figures 6 and 7, without the places that are filled in."""
    assert GENERATE.startswith(
        "Come up with five multiple-choice questions for a {classname} to examine the knowledge of"
    )
    assert GENERATE.endswith(
        '"reference" (str, original sentences from Wikipedia articles).\nOutput in JSON format.'
    )
    assert GENERATE.count("\n") == 10 and GENERATE.count("{classname}") == 3
    assert FILTER_UNNAMED.startswith(FILTER_NAMED.rpartition("\n")[0])
    assert FILTER_NAMED.endswith("\nOutput only one character A/B/C/D.")


def test_a_build_keeps_balances_and_illustrates(tmp_path):
    model = Writer()
    built = build_questions(PAGES, model, tmp_path, pictures=ALL_SETS["things"])
    assert model.kinds == {"make": 2, "named": 10, "unnamed": 10}
    assert built.report["kept"] == built.report["made"] == len(built.questions) == 10
    counts = letter_counts(built.questions).values()
    assert max(counts) - min(counts) <= 1
    assert all(q.choices[q.answer].endswith("?") and len(q.images) == 3 for q in built.questions)
    assert [q.id for q in read_wikiqa(built.path)] == [q.id for q in built.questions]
    assert json.loads((tmp_path / "report.json").read_text()) == json.loads(json.dumps(built.report))
    assert len(built.report["reference_not_in_page"]) == 0


def test_the_filters_see_the_name_and_do_not_see_it(tmp_path):
    model = Writer()
    build_questions({"fish": PAGES["fish"]}, model, tmp_path)
    named = [p for p in model.prompts if kind(p) == "named"]
    unnamed = [p for p in model.prompts if kind(p) == "unnamed"]
    assert all("of fish?\nA. " in p and "this object" not in p for p in named)
    assert all("of this object?\nA. " in p and 'mentions "this object"' in p for p in unnamed)


def test_what_the_filters_drop_is_counted_by_reason(tmp_path):
    def named(prompt):
        return {"home": wrong(right_letter(prompt)), "parts": "Hard to say."}.get(
            topic(prompt), right_letter(prompt)
        )

    def unnamed(prompt):
        return {"motion": right_letter(prompt), "origin": "I cannot answer that."}.get(
            topic(prompt), wrong(right_letter(prompt))
        )

    def topic(prompt):
        return re.search(r"What is the (\w+) of", prompt)[1]

    model = Writer(named=named, unnamed=unnamed)
    report = build_questions(PAGES, model, tmp_path).report
    assert {name: report[name] for name in ("made", "unanswerable", "guessable", "unreadable", "no_reply", "kept")} == {
        "made": 10, "unanswerable": 2, "guessable": 2, "unreadable": 4, "no_reply": 0, "kept": 2,
    }  # fmt: skip
    assert model.kinds == {"make": 2, "named": 10, "unnamed": 6}, "what cannot be answered is not asked again"
    assert Counter(report["dropped"].values()) == {"unanswerable": 2, "guessable": 2, "unreadable": 4}


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda rows: rows[:4], "it holds 4 questions, not 5"),
        (lambda rows: [{**rows[0], "answer": 4}, *rows[1:]], "question 1 has a wrong answer"),
        (lambda rows: [{**rows[0], "answer": "2"}, *rows[1:]], "question 1 has a wrong answer"),
        (lambda rows: [{**rows[0], "choices": ["a", "b", "c"]}, *rows[1:]], "question 1 has a wrong choices"),
        (lambda rows: [{**rows[0], "choices": ["a", "b", "A ", "c"]}, *rows[1:]], "question 1 has two equal choices"),
        (lambda rows: [*rows[:4], {**rows[4], "question": "What lives in water?"}], 'question 5 does not say "this object"'),
        (lambda rows: [*rows[:4], {**rows[4], "question": "Is this object a Fish?"}], "question 5 names the class"),
        (lambda rows: [*rows[:4], rows[0]], "question 5 is asked twice"),
        (lambda rows: [*rows[:4], "five"], "question 5 has a wrong form"),
        (lambda rows: {"error": "no"}, "it is no list of questions"),
    ],
)  # fmt: skip
def test_faults_are_named_repaired_once_and_then_counted(tmp_path, spoil, fault):
    bad = json.dumps(spoil(made("fish")))
    page = {"fish": PAGES["fish"]}
    model = Writer(make=lambda prompt: bad, repair=lambda prompt: json.dumps(made("fish")))
    report = build_questions(page, model, tmp_path / "mended").report
    assert (report["made"], report["invalid"], report["repaired"]) == (5, 0, 1)
    assert fault in next(p for p in model.prompts if kind(p) == "repair")
    stubborn = Writer(make=lambda prompt: bad)
    if bad.startswith("{"):
        with pytest.raises(KeepsightError, match="made no question; page 'fish': it is no list"):
            build_questions(page, stubborn, tmp_path / "not")
    else:
        report = build_questions(page, stubborn, tmp_path / "not").report
        assert (report["made"], report["invalid"]) == (4, 1) and fault in report["faults"]["fish"][0]
    assert stubborn.kinds["repair"] == 1


@pytest.mark.parametrize(
    "wrap",
    [
        lambda rows: f"Here they are:\n```json\n{rows}\n```\nGood luck!",
        lambda rows: f"<think>[1, 2]</think>{rows}",
        lambda rows: f'{{"questions": {rows}}}',
    ],
)
def test_lists_are_read_in_their_wrappings(tmp_path, wrap):
    model = Writer(make=lambda prompt: wrap(json.dumps(made(classname_of(prompt)))))
    assert build_questions(PAGES, model, tmp_path).report["made"] == 10
    assert model.kinds["repair"] == 0


def test_one_page_that_fails_does_not_stop_the_others(tmp_path):
    def make(prompt):
        return "I would rather not." if classname_of(prompt) == "cup" else json.dumps(made("fish"))

    report = build_questions(PAGES, Writer(make=make), tmp_path).report
    assert (report["made"], report["invalid"]) == (5, 5)
    assert report["faults"] == {"cup": ["it is no JSON"]}


def test_a_reference_that_is_not_in_the_page_is_flagged_not_dropped(tmp_path):
    model = Writer(make=lambda prompt: json.dumps(made(classname_of(prompt), reference="Made up.")))
    report = build_questions(PAGES, model, tmp_path).report
    assert len(report["reference_not_in_page"]) == report["kept"] == 10


def test_a_killed_build_goes_on_and_asks_nothing_twice(tmp_path):
    class Killed(Writer):
        def generate(self, samples, **settings):
            for index, output in super().generate(samples, **settings):
                if len(self.prompts) > 7:
                    raise KeyboardInterrupt
                yield index, output

    killed, second, third = Killed(), Writer(), Writer()
    with pytest.raises(KeyboardInterrupt):
        build_questions(PAGES, killed, tmp_path)
    built = build_questions(PAGES, second, tmp_path)
    kept = killed.prompts[:-1]  # the reply to the last one never came
    assert not set(kept) & set(second.prompts) and len({*kept, *second.prompts}) == 22
    assert build_questions(PAGES, third, tmp_path).report == built.report and third.prompts == []
    fresh = build_questions(PAGES, Writer(), tmp_path / "fresh")
    assert fresh.path.read_bytes() == built.path.read_bytes() and fresh.report == built.report


def test_another_model_is_asked_again(tmp_path):
    build_questions(PAGES, Writer(), tmp_path)
    other = Writer()
    other.digest = "2" * 64
    build_questions(PAGES, other, tmp_path)
    assert len(other.prompts) == 22


def test_a_reply_that_never_came_is_asked_again(tmp_path):
    broken = Writer(named=lambda prompt: Output("", error="429"))
    report = build_questions(PAGES, broken, tmp_path).report
    assert (report["no_reply"], report["kept"]) == (10, 0)
    assert build_questions(PAGES, Writer(), tmp_path).report["kept"] == 10


def test_a_model_that_takes_a_schema_is_held_to_it(tmp_path):
    held = []

    class Schooled(Writer):
        def with_schema(self, schema):
            held.append(schema)
            return self

    build_questions(PAGES, Schooled(), tmp_path)
    assert held == [SCHEMA]


def test_the_plan_asks_nothing_and_bounds_the_build(tmp_path):
    model = Writer()
    plan = plan_questions(PAGES, model)
    assert (plan.requests, plan.most_requests, model.prompts, plan.cost) == (2, 24, [], None)
    build_questions(PAGES, model, tmp_path)
    assert len(model.prompts) <= plan.most_requests
    assert sum(map(len, model.prompts)) <= plan.prompt_characters


def test_a_plan_for_a_server_has_tokens_and_a_price():
    from keepsight.models import load

    model = load("api:some@http://127.0.0.1:9/v1", prompt_price=1.0, completion_price=2.0)
    plan = plan_questions(PAGES, model)
    assert plan.tokens > 1000 and 0.001 < plan.cost < 1


def test_classes_without_pictures_are_named_before_anything_is_asked(tmp_path):
    model = Writer()
    with pytest.raises(KeepsightError, match=r"set things has no class 'dog' \(1 of 2 pages\)"):
        build_questions({"fish": "x", "dog": "y"}, model, tmp_path, pictures=ALL_SETS["things"])
    assert model.prompts == []


@pytest.mark.parametrize("pages", [{}, {"fish": "  "}, {"": "text"}])
def test_pages_that_are_none(tmp_path, pages):
    with pytest.raises(KeepsightError, match=r"pages to make|is empty"):
        build_questions(pages, Writer(), tmp_path)


def test_progress_counts_to_the_end(tmp_path):
    told = []
    build_questions(PAGES, Writer(), tmp_path, progress=lambda *about: told.append(about))
    assert told[-1] == ("asking without the class name", 10, 10) and ("making questions", 2, 2) in told


def test_pages_of_a_folder(tmp_path):
    (tmp_path / "guinea_pig.txt").write_text("It squeaks.")
    (tmp_path / "notes.pdf").write_text("no")
    assert read_pages(tmp_path) == {"guinea pig": "It squeaks."}
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(KeepsightError, match=r"bad.txt"):
        read_pages(tmp_path)
    with pytest.raises(KeepsightError, match="holds no page"):
        read_pages(tmp_path / "nowhere")
