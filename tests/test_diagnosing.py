"""Every question through `keepsight diagnose`, as a new user asks it: a model directory, a folder of one's own pictures."""

import json

import pytest

from keepsight.diagnose import QUESTIONS
from keepsight.diagnose.about import question_titles
from keepsight.report.findings_file import read_findings
from tests.test_cli import LABELS, folder, run  # noqa: F401  (fixtures)

pytestmark = pytest.mark.torch


@pytest.fixture
def rows(folder):  # noqa: F811
    """Instruction data: rows with and without a picture."""
    said = [
        {"from": "human", "value": "<image>\nWhich colour?"},
        {"from": "gpt", "value": "It may be red or blue."},
    ]
    pictures = [
        {"id": str(i), "image": f"paints/train/red/{2 * i + 1}.png", "conversations": said} for i in range(3)
    ]
    words = [{"from": "human", "value": "Say hello."}, {"from": "gpt", "value": "Hello."}]
    (folder / "rows.json").write_text(json.dumps([*pictures, {"id": "words", "conversations": words}]))
    return folder


def test_all_questions_of_a_model_directory_and_a_class_folder(run, rows, tmp_path_factory):  # noqa: F811
    from tests.tiny_llava import make_tiny_clip, make_tiny_llava

    there = tmp_path_factory.mktemp("models")
    make_tiny_llava(there / "llava", clip_dir=make_tiny_clip(there / "clip"))
    code, out, err = run(
        "diagnose", str(there / "llava"), "--data", "paints", "--clip", f"clip:{there / 'clip'}", "--questions", "all",
        "--limit", "6", "--n_train", "8", "--n_validation", "4", "--sizes", "2", "--solver", "lbfgs", "--world", "open",
        "--corpus", "stage=rows.json", "--answers_only", "--epochs", "1", "--shares", "0,0.5", "--total", "4",
        "--instructions", "rows.json", "--others", "closed:paints", "--tuning", "num_train_epochs=1",
        "--question_args", "ablation_share=null,max_new_tokens_of_thought=8,max_new_tokens=8,threshold=4",
        "--output_path", "out",
    )  # fmt: skip
    assert code == 0, err
    found = read_findings(rows / "out")
    assert [finding.question for finding in found.findings] == list(QUESTIONS)
    assert {finding.question: finding.title for finding in found.findings} == question_titles()
    assert found["decoding"].settings["world"] == "open" and found["label_sets"].settings["sizes"] == [2, 3]
    assert found["frequency"].settings["mentions"] == {"blue": 3, "green": 0, "red": 3}
    assert found["too_little"].settings["classes"] == {"green": 0, "blue": 3, "red": 3}
    assert found["mixing"].settings["others"] == ["closed:paints"] and len(found["mixing"].figures) == 4
    assert (rows / "out" / "diagnosis.html").is_file() and "Is it the prompt?" in out and len(LABELS) == 3


@pytest.mark.parametrize("question", ["prompts", "decoding", "probe"])
def test_the_embedded_model_is_asked(run, folder, question):  # noqa: F811
    code, _, err = run(
        "diagnose", "tiny", "--data", "things", "--questions", question, "--limit", "12", "--n_train", "24",
        "--n_validation", "6", "--output_path", "out",
    )  # fmt: skip
    assert code == 0, err
    found = read_findings(folder / "out")[question]
    assert found.deciding.n == 12 and found.plots and found.title == question_titles()[question]
