"""`keepsight diagnose` and `keepsight.explain`, asked of made-up questions: the verb, not the questions."""

import json
import math

import pytest

import keepsight as ks
from keepsight import diagnose, explaining
from keepsight.diagnose import about
from keepsight.diagnose.about import Cost
from keepsight.evaluate import evaluate
from keepsight.report.findings_file import read_findings
from keepsight.scoring.findings import Finding
from keepsight.store import StoreError
from keepsight.tasks.emt import emt
from keepsight.types import MetricValue
from tests.fake_vlm import FakeVLM
from tests.test_cli import folder, run  # noqa: F401  (fixtures)


def finding(name, study, **settings):
    figure = MetricValue("share right", 0.5, 0.4, 0.6, study.n, study.n)
    return Finding(name, f"Is it {name}?", "yes", f"It is {name}.", (figure,), settings=settings)


def asks(study, *, sizes=(2, 5)):
    """Is it the size?

    More of it.
    """
    found = evaluate(study.model, emt(study.pictures, n=study.n), study.store).headline
    return Finding("asks", "Is it the size?", "no", "It is not.", (found,), settings={"sizes": list(sizes)})


def probes(study, *, solver="lbfgs", steps=3):
    """Is it lost?"""
    return finding("probes", study, solver=solver, steps=steps)


def reads(study, *, column=None, overlap="longest", answers_only=False):
    """Is it the data?"""
    files = {name: path.name for name, path in study.corpora.items()}
    return finding("reads", study, files=files, column=column, overlap=overlap, answers_only=answers_only)


def trains(study, *, shares=(0.1,), total=None, instructions=(), others=(), config=None):
    """Is it the training?"""
    taught = [sample.target[0] for sample in instructions]
    return finding("trains", study, shares=list(shares), total=total, taught=taught, others=[t.name for t in others],
                   tuned=None if config is None else [config.method, config.lora_r, config.bf16])  # fmt: skip


def breaks(study):
    """Is it broken?"""
    raise ValueError("a very\nbroken thing")


ASKED = {"asks": asks, "probes": probes, "reads": reads, "trains": trains}


@pytest.fixture
def questions(monkeypatch):
    """The questions there are, and the model that every ref names."""
    given = dict(ASKED)
    monkeypatch.setattr(diagnose, "QUESTIONS", given)
    monkeypatch.setattr(explaining, "QUESTIONS", given)
    monkeypatch.setattr(about, "QUESTIONS", given)
    costs = {"asks": Cost("asks", lambda of: of.test * of.labels), "probes": Cost("fits", lambda of: of.train),
             "reads": Cost("reads", reads_corpus=True), "trains": Cost("trains", trains=True)}  # fmt: skip
    monkeypatch.setattr(about, "COSTS", costs)
    return given


@pytest.fixture
def model(monkeypatch):
    made = FakeVLM("stub", answers={})
    monkeypatch.setattr("keepsight.models.load", lambda ref, **settings: made)
    return made


DIAGNOSE = ("diagnose", "stub", "--data", "paints", "--output_path", "out")


def test_the_answers_are_told_and_written(run, folder, questions, model):  # noqa: F811
    code, out, err = run(*DIAGNOSE)
    assert (code, err) == (0, "")
    assert out.startswith("What explains stub on paints?\n") and out.endswith(
        "\nwritten: out/diagnosis.html\n"
    )
    assert "○ no: Is it the size?" in out and "● yes: Is it probes?" in out
    found = read_findings(folder / "out")
    assert [each.question for each in found.findings] == ["asks", "probes"] and found.failed == ()
    assert found["asks"].deciding.value == 1.0 and found["asks"].deciding.n == 24
    assert found.settings == {"test_pictures": 24, "training_pictures": 18, "validation_pictures": 6,
                              "seed": 0, "baseline": None, "corpora": []}  # fmt: skip
    assert "Is it the size?" in (folder / "out" / "diagnosis.html").read_text()


def test_again_asks_nothing_and_writes_the_same(run, folder, questions, model):  # noqa: F811
    run(*DIAGNOSE)
    before = {name: (folder / "out" / name).read_bytes() for name in ("findings.json", "diagnosis.html")}
    assert len(model.asked) == 24
    assert run(*DIAGNOSE)[0] == 0 and len(model.asked) == 24
    assert before == {name: (folder / "out" / name).read_bytes() for name in before}


def test_a_question_that_fails_costs_only_itself(run, folder, questions, model):  # noqa: F811
    questions["breaks"] = breaks
    code, out, err = run(*DIAGNOSE)
    assert code == 3 and err == "keepsight: question breaks failed: ValueError: a very broken thing\n"
    found = read_findings(folder / "out")
    assert [each.question for each in found.findings] == ["asks", "probes"]
    assert [(each.question, each.title) for each in found.failed] == [("breaks", "Is it broken?")]
    assert "ValueError: a very broken thing" in (folder / "out" / "diagnosis.html").read_text()
    assert "× failed: Is it broken? (breaks)" in out


def test_a_diagnosis_without_an_answer_keeps_the_earlier_page(run, folder, questions, model):  # noqa: F811
    run(*DIAGNOSE)
    before = (folder / "out" / "diagnosis.html").read_bytes()
    questions.clear()
    questions["breaks"] = breaks
    code, out, err = run(*DIAGNOSE)
    assert code == 1 and "written" not in out and "breaks failed" in err
    assert (folder / "out" / "diagnosis.html").read_bytes() == before


def test_a_full_disk_stops_it(folder, questions, model, monkeypatch):  # noqa: F811
    def full(study):
        raise StoreError("out cannot be written: full")

    questions["asks"] = full
    with pytest.raises(StoreError, match="full"):
        ks.explain("stub", "paints", output_path="out")


@pytest.mark.parametrize(
    ("asked", "corpora", "told"),
    [
        ((), (), ["asks", "probes"]),
        ((), ("a.jsonl",), ["asks", "probes", "reads"]),
        (("trains", "asks"), (), ["asks", "trains"]),
        (("reads",), (), ["reads"]),
        (("all",), (), ["asks", "probes", "reads", "trains"]),
    ],
)
def test_what_trains_must_be_named(asked, corpora, told, questions):
    assert explaining.chosen_questions(asked, corpora) == told


def test_settings_go_to_the_questions_that_have_them(run, folder, questions, model):  # noqa: F811
    for name in ("a.jsonl", "b.jsonl"):
        (folder / name).write_text("")
    code, _, _ = run(*DIAGNOSE, "--questions", "all", "--solver", "adam", "--sizes", "2,20", "--shares", "0,0.5",
                     "--question_args", "steps=7", "--corpus", "a.jsonl", "--corpus", "b.jsonl", "--limit", "6")  # fmt: skip
    assert code == 0
    found = read_findings(folder / "out")
    assert found["asks"].settings == {"sizes": [2, 20]} and found["asks"].deciding.n == 6
    assert found["probes"].settings == {"solver": "adam", "steps": 7}
    assert found["trains"].settings["shares"] == [0.0, 0.5]
    assert found["reads"].settings["files"] == {"a": "a.jsonl", "b": "b.jsonl"}


def test_options_of_the_data_and_of_the_cure(run, folder, questions, model):  # noqa: F811
    row = {
        "id": "1",
        "conversations": [{"from": "human", "value": "Hello?"}, {"from": "gpt", "value": "Hi."}],
    }
    (folder / "rows.json").write_text(json.dumps([row]))
    for name in ("a.jsonl", "x=y.jsonl"):
        (folder / name).write_text("")
    code, _, err = run(*DIAGNOSE, "--questions", "all", "--corpus", "stage one=a.jsonl", "--corpus", "x=y.jsonl",
                       "--answers_only", "--overlap", "all", "--column", "said", "--total", "8", "--instructions", "rows.json",
                       "--others", "emt:shapes,open:paints", "--tuning", "lora_r=4,bf16=true")  # fmt: skip
    assert (code, err) == (0, "")
    found = read_findings(folder / "out")
    assert found["reads"].settings == {"files": {"stage one": "a.jsonl", "x=y": "x=y.jsonl"}, "column": "said",
                                       "overlap": "all", "answers_only": True}  # fmt: skip
    assert found["trains"].settings == {"shares": [0.1], "total": 8, "taught": ["Hi."],
                                        "others": ["emt:shapes", "open:paints"], "tuned": ["lora", 4, True]}  # fmt: skip
    assert found.settings["corpora"] == ["stage one", "x=y"]


def test_a_corpus_is_read_once_for_all_questions_about_it(model, tmp_path):
    (tmp_path / "captions.jsonl").write_text('{"caption": "A fish."}\n' * 9)
    told = []
    found = ks.explain(
        "stub", "things", ["frequency", "too_little"], tmp_path / "out", limit=12, clip=None,
        corpora=[tmp_path / "captions.jsonl"], progress=lambda what, done, total: told.append(what),
    )  # fmt: skip
    assert (
        found["frequency"].settings["mentions"]["fish"]
        == found["too_little"].settings["classes"]["fish"]
        == 9
    )
    assert told.count("captions.jsonl") == 1, "the last word on a file of a few bytes is the only one"


def test_pictures_of_a_small_set_are_shared_out(run, folder, questions, model):  # noqa: F811
    """A quarter of the training pictures chooses, the others teach; a limit beyond the set means all of it."""
    assert run(*DIAGNOSE, "--limit", "1000")[0] == 0
    sizes = {"test_pictures": 24, "training_pictures": 18, "validation_pictures": 6}
    settings = read_findings(folder / "out").settings
    assert {name: settings[name] for name in sizes} == sizes
    with pytest.raises(ks.KeepsightError, match="two corpora have one name"):
        ks.explain("stub", "paints", output_path="out", corpora=["a/x.jsonl", "b/x.jsonl"])
    seen = []
    questions["asks"] = lambda study: seen.append(study) or finding("asks", study)
    ks.explain("stub", "closed:paints", ["asks"], "out", n_train=None, n_validation=3)
    assert [len(part()) for part in (seen[0].test, seen[0].train, seen[0].validation)] == [24, 21, 3]


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (("--questions", "spoons"), "there is no question 'spoons'; choose from asks, probes, reads, trains, or all"),
        (("--questions", "asks", "--solver", "adam"), "no question that is asked has the setting solver; ask probes, too"),
        (("--question_args", "spoons=1"), "no question that is asked has the setting spoons; leave it out"),
        (("--task_args", "spoons=1"), "set paints has no setting 'spoons'; task_args can set path, classes, image_root, remote_images"),
        (("--questions", "trains", "--tuning", "lora_r=0"), "lora_r must be at least 1"),
        (("--questions", "trains", "--others", "emt:nowhere"), "no set 'nowhere'"),
        (("--questions", "trains", "--instructions", "nowhere.json"), "nowhere.json"),
        (("--corpus", "nowhere.jsonl"), "no corpus at nowhere.jsonl"),
        (("--clip", "st:nowhere"), "nowhere"),
        (("--output_path", "base.jsonl"), "base.jsonl is no directory"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_before_anything_is_asked(argv, told, run, folder, questions, model):  # noqa: F811
    code, out, err = run(*DIAGNOSE, *argv)
    assert code == 1 and told in err and err.count("\n") == 1 and out == "" and model.asked == []
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    "argv",
    [
        ("--sizes", "2,x"),
        ("--shares", "a"),
        ("--question_args", "seed=1"),
        ("--question_args", "total=1"),
        ("--corpus", "a/x.jsonl", "--corpus", "b/x.jsonl"),
        ("--tuning", "spoons=1"),
        ("--tuning", "learning_rate=fast"),
        ("--tuning", "method=all"),
        ("--total", "0"),
    ],
)
def test_a_wrong_option_is_a_usage_error(argv, run, folder, questions, model):  # noqa: F811
    assert run(*DIAGNOSE, *argv)[0] == 2 and not (folder / "out").exists()


def test_dry_run_counts_and_writes_nothing(run, folder, questions, model):  # noqa: F811
    code, out, _ = run(*DIAGNOSE, "--questions", "all", "--dry_run", "--n_validation", "4")
    assert code == 0 and not (folder / "out").exists() and model.asked == []
    assert [line.split() for line in out.splitlines()[2:]] == [
        ["asks", "asks", "72", "no"],  # 24 pictures, 3 labels
        ["probes", "fits", "20", "no"],  # 24 training pictures, 4 of them for validation
        ["reads", "reads", "unknown", "no"],
        ["trains", "trains", "unknown", "yes"],
    ]
    _, out, _ = run(*DIAGNOSE, "--dry_run", "--limit", "5")
    assert "15" in out and "trains" not in out.splitlines()[-1]


def test_the_page_is_written_again(run, folder, questions, model):  # noqa: F811
    run(*DIAGNOSE)
    page = (folder / "out" / "diagnosis.html").read_bytes()
    (folder / "out" / "diagnosis.html").unlink()
    code, out, err = run("report", "out")
    assert (code, err) == (0, "") and "written: out/diagnosis.html" in out
    assert (folder / "out" / "diagnosis.html").read_bytes() == page
    assert run("report", "out/findings.json", "--html", "other.html")[0] == 0
    assert (folder / "other.html").read_bytes() == page


def test_an_audit_and_a_diagnosis_share_a_directory(run, folder, questions, model):  # noqa: F811
    run("audit", "base", "tuned", "--tasks", "emt:paints", "--judges", "label", "--output_path", "out")
    run(*DIAGNOSE)
    for page in ("forgetting.html", "diagnosis.html"):
        (folder / "out" / page).unlink()
    code, out, _ = run("report", "out")
    assert code == 0 and "written: out/diagnosis.html" in out and "written: out/forgetting.html" in out
    assert run("report", "out", "--html", "page.html")[0] == 2
    assert run("report", "out/matrix.json", "--html", "page.html")[0] == 0
    assert "forgot" in (folder / "page.html").read_text()


def test_questions_are_listed(run, questions):  # noqa: F811
    _, out, _ = run("ls", "questions", "--json")
    assert json.loads(out)[0] == {"name": "asks", "description": "Is it the size?"}


def test_tiny_has_a_baseline_of_its_own(folder, questions, monkeypatch):  # noqa: F811
    seen = []
    questions.clear()
    questions["looks"] = lambda study: seen.append(study) or finding("looks", study)
    for name in ("tiny", "tiny+adapter:x", "hf:tiny"):
        monkeypatch.setattr("keepsight.models.load", lambda ref, **_: FakeVLM(ref))
        ks.explain(name, "emt:paints", ["looks"], "out", n_train=5, n_validation=2)
    assert [study.clip and study.clip.name for study in seen] == ["tiny", "tiny", None]
    ids = [
        {picture.id for picture in part} for part in (seen[0].test(), seen[0].train(), seen[0].validation())
    ]
    assert [len(part) for part in ids] == [24, 5, 2] and len(set.union(*ids)) == 31
    assert ks.explain("tiny", "paints", ["looks"], "out", clip=None).settings["baseline"] is None


def test_progress_names_the_question(folder, questions, model):  # noqa: F811
    told = []
    ks.explain("stub", "paints", ["probes"], "out", progress=lambda *args: told.append(args))
    assert told[0] == ("probes", 0, 1)


def test_every_real_question_is_known(folder):  # noqa: F811
    """What a question costs is written in `about.COSTS`; its docstring begins with a title."""
    assert set(diagnose.QUESTIONS) <= set(about.COSTS)
    for name, title in about.question_titles().items():
        assert title and not title.endswith(","), name
    assert all(
        not math.isnan(cost.requests(about.Sizes(1, 1, 1, 1)))
        for cost in about.COSTS.values()
        if cost.requests
    )
