"""Sample logs as lm-eval, lmms-eval and Inspect write them, made up: field by field after their code, with no text of theirs."""

import json
from pathlib import Path

DATE, LMMS_DATE = "2026-01-02T03-04-05.678901", "20260102_030405"


def dump(path: Path, rows) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def lm_eval(
    folder: Path, right: int, n: int = 40, *, task="colours", model="org/base", date=DATE, **about
) -> Path:
    """Two filters, as of gsm8k; the lenient one also has a metric that is better when it is lower."""
    rows = []
    for i in range(n):
        answer = "blue" if i < right else "grey"
        for name in ("strict", "lenient"):
            rows.append(
                {
                    "doc_id": i,
                    "doc": {"question": f"q{i}", "image_id": i // 2},
                    "target": "blue",
                    "arguments": {"gen_args_0": {"arg_0": f"Question {i}?", "arg_1": {"until": ["\n"]}}},
                    "resps": [[f"It is {answer}."]],
                    "filtered_resps": [answer],
                    "filter": name,
                    "metrics": ["exact_match", "edits"],
                    "doc_hash": f"{model}{i}",
                    "prompt_hash": "p",
                    "target_hash": "t",
                    "exact_match": float(i < right),
                    "edits": 3,
                }
            )
    dump(folder / f"samples_{task}_{date}.jsonl", rows)
    results = {
        "results": {task: {"exact_match,strict": right / n, "exact_match,lenient": right / n}},
        "configs": {task: {"generation_kwargs": {"do_sample": False}}},
        "versions": {task: 3.0},
        "higher_is_better": {task: {"exact_match": True, "edits": False}},
        "model_name": model,
        **about,
    }
    (folder / f"results_{date}.json").write_text(json.dumps(results))
    return folder


def lm_eval_choices(folder: Path) -> Path:
    """Ranked continuations: numbers as text, one request per choice, more than ten of them."""
    names = [f" c{i}" for i in range(12)]
    row = {
        "doc_id": 7,
        "doc": {},
        "target": "1",
        "arguments": {f"gen_args_{i}": {"arg_0": "Which?", "arg_1": name} for i, name in enumerate(names)},
        "resps": [[[str(-5.0 - i), "False"]] for i in range(12)],
        "filtered_resps": [[str(-1.0 if i == 10 else -5.0 - i), "False"] for i in range(12)],
        "filter": "none",
        "metrics": ["acc"],
        "acc": 0.0,
    }
    row["resps"][10] = [["-1.0", "False"]]
    return dump(folder / f"samples_pick_{DATE}.jsonl", [row])


def lmms_eval(folder: Path, right: int, n: int = 40, *, task="pope", model="llava") -> Path:
    """POPE's per-sample objects; no filter, no list of metrics, no document; resps only where they differ."""
    rows = []
    for i in range(n):
        answer = "yes" if i < right else "no"
        told = {"question_id": i, "image": i // 4, "score": float(i < right), "prediction": answer}
        rows.append(
            {
                "doc_id": i,
                "target": "yes",
                "filtered_resps": [answer],
                "doc_hash": f"{model}{i}",
                "pope_accuracy": told,
                "pope_f1_score": told,
                "submission": {"prediction": answer},
                "input": f"Is there a dog in picture {i // 4}?",
            }
        )
    dump(folder / f"{LMMS_DATE}_samples_{task}.jsonl", rows)
    results = {
        "results": {task: {"pope_accuracy,none": 0.9}},
        "versions": {task: "Yaml"},
        "model_name": model,
    }
    (folder / f"{LMMS_DATE}_results.json").write_text(json.dumps(results))
    return folder


def inspect(path: Path, values, *, epochs=1, model="openai/x") -> Path:
    samples = [
        {
            "id": i,
            "epoch": epoch,
            "input": [
                {"role": "system", "content": "Be brief."},
                {
                    "role": "user",
                    "content": [{"type": "text", "text": f"Q{i}?"}, {"type": "image", "image": "x"}],
                },
            ],
            "target": "A",
            "choices": ["A", "B"],
            "metadata": {"picture": i // 2},
            "output": {"choices": [{"message": {"role": "assistant", "content": "A"}}]},
            "scores": {
                "match": {"value": value, "answer": "A", "explanation": "said A"},
                "notes": {"value": {"tone": 1}},
            },
        }
        for i, value in enumerate(values)
        for epoch in range(1, epochs + 1)
    ]
    log = {
        "version": 2,
        "status": "success",
        "eval": {
            "task": "letters",
            "task_version": 1,
            "model": model,
            "created": "2026-01-02T03:04:05+00:00",
        },
        "samples": samples,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(log))
    return path
