"""`keepsight compare` over sequences: the figures of what it loads, paired; nothing is paired that asked something else."""

import json
import re
import sys

import pytest

import keepsight as ks
from keepsight import cli, tasks
from keepsight.comparing import compare_sequences, is_sequence
from keepsight.report.methods_text import study_lines
from keepsight.scoring.continual import average_of_row, continual_difference, continual_metrics
from keepsight.store import load_matrix
from keepsight.types import KeepsightError

NAMES = ("emt:shapes", "emt:letters")
RIGHT = {  # per row the samples that are answered rightly, of each task
    "sequential": ((2, 1), (20, 3), (8, 21)),
    "replay": ((2, 1), (18, 2), (15, 19)),
    "multitask": ((2, 1), (19, 20)),
}


def write_sequence(folder, method, right, *, n=24, names=NAMES, base="base"):
    """What `tune --sequence` leaves, of canned answers."""
    asked = [tasks.get(name, n=n) for name in names]
    models = []
    for row, shares in enumerate(right):
        answers = {
            sample.id: f"The object is a(n) {sample.target[0]}." if place < share else "No."
            for task, share in zip(asked, shares)
            for place, sample in enumerate(task.test())
        }
        stage = f"{row}-{names[row - 1].removeprefix('emt:')}" if len(right) > 2 else "1-all"
        models.append(ks.Replay(answers, name=stage if row else base))
    matrix = ks.audit(models, asked, folder, judges=["label"], report=False)
    learnt = dict(zip(matrix.rows[1:], names)) if len(right) > 2 else {}
    file = folder / "matrix.json"
    told = json.loads(file.read_text())
    told["meta"] |= {
        "sequence": {"stages": list(names), "method": method, "trained": "lora"},
        "tuned_on": learnt,
    }
    file.write_text(json.dumps(told))
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("sequences")
    made = {name: write_sequence(root / f"my-{name}", name, right) for name, right in RIGHT.items()}
    made["slow"] = write_sequence(root / "my-slow", "sequential", ((2, 1), (14, 2), (9, 12)))
    return made


@pytest.fixture
def run(capsys, monkeypatch):
    def call(*words, columns=80):
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setattr(sys, "argv", ["keepsight", *map(str, words)])
        try:
            cli.main()
            code = 0
        except SystemExit as left:
            code = left.code or 0
        return code, *capsys.readouterr()

    return call


def ends(figure):
    return figure.low, figure.value, figure.high, figure.n


def test_figures_are_those_of_the_matrices(folders):
    (study,) = compare_sequences([folders[name] for name in RIGHT])
    matrices = {name: load_matrix(folders[name]) for name in RIGHT}
    titles = {name: f"lora+{name}, my-{name}" for name in RIGHT}
    assert study.reference.title == titles["sequential"]
    for name in ("sequential", "replay"):
        assert study.figures[titles[name]] == continual_metrics(matrices[name])
    plain = matrices["sequential"]
    assert study.differences[titles["replay"]] == continual_difference(matrices["replay"], plain)
    assert study.differences[titles["replay"]]["backward_transfer"].value == pytest.approx(
        (15 - 18 + 12) / 24
    )
    assert [entry.title for entry in study.entries] == ["zero-shot", *titles.values()]
    zero_shot = study.figures["zero-shot"]["average_accuracy"]
    assert ends(zero_shot) == pytest.approx(ends(average_of_row(plain, "base", NAMES)), abs=0.01)
    assert study.differences["zero-shot"]["average_accuracy"].value == pytest.approx((3 - 29) / 48)


def test_a_joint_run_takes_part(folders):
    (study,) = compare_sequences([folders[name] for name in RIGHT])
    title = "lora+multitask, my-multitask"
    joint = study.figures[title]
    assert set(joint.figures) == {"zero_shot", "average_accuracy"}
    mean = average_of_row(load_matrix(folders["multitask"]), "1-all", NAMES)
    assert ends(joint["average_accuracy"]) == pytest.approx(ends(mean), abs=0.01)
    assert "learnt all at once" in joint.why_not["backward_transfer"]
    difference = study.differences[title]["average_accuracy"]
    assert difference.value == pytest.approx((39 - 29) / 48) and difference.low > 0
    apart = joint["average_accuracy"], study.figures[study.reference.title]["average_accuracy"]
    assert difference.high - difference.low < sum(each.high - each.low for each in apart)


def test_a_sequence_with_itself_differs_by_nothing(folders):
    (study,) = compare_sequences([folders["replay"], folders["replay"]])
    found = study.differences["lora+replay, my-replay (2)"]
    itself = continual_difference(*[load_matrix(folders["replay"])] * 2)
    assert found == itself and len(found.figures) == 8
    assert all(each.value == 0 and each.low == -each.high < 0 for each in found.figures.values())


def test_directories_of_one_name_are_told_apart(folders, tmp_path):
    for place in ("first", "second"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "out").symlink_to(folders["replay"])
    (study,) = compare_sequences([tmp_path / "first/out", tmp_path / "second/out"])
    titles = [entry.title for entry in study.entries]
    assert titles == ["zero-shot", "lora+replay, first/out", "lora+replay, second/out"]


def test_plain_tuning_is_the_reference_wherever_it_stands(folders):
    (study,) = compare_sequences([folders["replay"], folders["slow"], folders["sequential"]])
    assert study.reference.title == "lora+sequential, my-slow"
    found = study.matched["lora+replay"]
    assert found.at is not None and found.difference.low <= found.difference.value <= found.difference.high
    (alone,) = compare_sequences([folders["multitask"], folders["replay"]])
    assert alone.reference.method == "lora+replay" and alone.matched == {}
    with pytest.raises(KeepsightError, match="no method learnt its tasks in sequence"):
        compare_sequences([folders["multitask"], folders["multitask"]])


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"n": 23}, r"sample \S+ of emt:(shapes|letters) was not asked everywhere"),
        ({"names": ("emt:shapes", "emt:digits")}, r"have other tasks \(emt:digits, emt:letters\)"),
    ],
)
@pytest.mark.parametrize("method", ["replay", "multitask"])
def test_other_samples_or_tasks_are_refused_on_one_line(folders, tmp_path, run, method, other, why):
    other = write_sequence(tmp_path / "other", method, RIGHT[method], **other)
    code, out, err = run("compare", folders["sequential"], other, "--output_path", tmp_path / "page")
    assert code == 1 and out == "" and err.count("\n") == 1
    assert f"lora+{method}, other cannot be compared with lora+sequential, my-sequential: " in err
    assert re.search(why, err) and not (tmp_path / "page").exists()


def test_a_sequence_that_is_not_finished_is_named(folders, tmp_path):
    early = write_sequence(tmp_path / "early", "replay", ((2, 1), (18, 2), (15, 19)))
    file = early / "matrix.json"
    told = json.loads(file.read_text())
    for part in ("rows", "values", "intervals", "n", "runs"):
        del told[part][2]
    del told["meta"]["tuned_on"]["2-letters"]
    file.write_text(json.dumps(told))
    with pytest.raises(
        KeepsightError, match=r"other tasks \(emt:letters\).*lora\+replay, early has 1 of 2 stages"
    ):
        compare_sequences([folders["sequential"], early])


def test_another_base_has_a_row_of_its_own(folders, tmp_path):
    other = write_sequence(tmp_path / "other", "replay", ((9, 9), (20, 9), (20, 20)), base="other-base")
    (study,) = compare_sequences([folders["sequential"], other])
    title = "zero-shot, base of lora+replay, other"
    assert [entry.title for entry in study.entries][:2] == ["zero-shot", title]
    assert study.figures[title]["average_accuracy"].value == pytest.approx(18 / 48)


@pytest.mark.parametrize("columns", [40, 60, 80, 160])
def test_the_tables_fit_the_terminal(folders, run, columns, tmp_path):
    given = [folders[name] for name in (*RIGHT, "slow")]
    code, out, err = run("compare", *given, "--output_path", tmp_path, columns=columns)
    *lines, last = out.splitlines()
    assert code == 0 and err == "" and last == f"written: {tmp_path}/methods.html"
    assert max(map(len, lines)) <= columns
    for told in ("zero-shot", "ACC", "BWT", "MAA", "60.4", "+20.8", "Minus", "lost per earlier task", "▲"):
        assert told in " ".join(out.split()), told
    page = (tmp_path / "methods.html").read_text(encoding="utf-8")
    assert "lora+replay, my-replay" in page and "<script" not in page


def test_json_says_the_same(folders, run):
    code, out, _ = run("compare", folders["sequential"], folders["replay"], folders["multitask"], "--json")
    (told,) = json.loads(out)["studies"]
    (study,) = compare_sequences([folders[name] for name in RIGHT])
    assert code == 0 and told["reference"] == "lora+sequential, my-sequential" and told["scorer"] is None
    assert set(told) == {"scorer", "level", "reference", "runs", "differences", "matched"}
    assert [each["name"] for each in told["runs"]] == [entry.title for entry in study.entries]
    shown = {each["name"]: each["figures"] for each in told["differences"]}
    found = study.differences["lora+replay, my-replay"]["backward_transfer"]
    bwt = shown["lora+replay, my-replay"]["backward_transfer"]
    assert (bwt["value"], bwt["low"], bwt["high"], bwt["n"]) == (found.value, found.low, found.high, found.n)
    assert bwt["verdict"] == "better" and shown["zero-shot"]["average_accuracy"]["verdict"] == "worse"


def test_what_is_not_alike_is_not_compared(folders, run, tmp_path):
    one = next((folders["replay"] / "runs").glob("*/*"))
    assert is_sequence(folders["replay"]) and not is_sequence(one)
    for words, why in (
        ([folders["replay"]], "1 given"),
        ([one] * 3, "3 given"),
        ([folders["replay"], one], "compare what is alike"),
        ([one, one, "--output_path", tmp_path], "--output_path is of sequences"),
    ):
        code, _, err = run("compare", *words)
        assert code == 2 and why in err and err.count("\n") == 1
    code, out, _ = run("compare", one, one, "--json")
    assert code == 0 and json.loads(out)["drop"]["difference"] == 0


def test_another_scorer(folders, run):
    code, _, err = run("compare", folders["sequential"], folders["replay"], "--scorer", "semantic")
    assert code == 1 and "has no score" in err
    (study,) = compare_sequences([folders["sequential"], folders["replay"]], scorer="label")
    assert study_lines(study, 80)[0].startswith("label.")
