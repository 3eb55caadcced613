"""Findings of every kind, made up: long names, gaps, many ticks, several series, a failed question."""

import math
from random import Random

from keepsight.scoring.findings import Diagnosis, FailedQuestion, Finding, Line, Plot
from keepsight.types import MetricValue

NAN = math.nan
EVIL = "<script>alert(1)</script>\"'&\x1b[31m\u202e"


def share(name, value, spread=0.05, n=300, **changes):
    total = changes.pop("total", n)
    return MetricValue(name, value, value - spread, value + spread, n, total, **changes)


def line(name, values, spread=0.05, x=(), ends=True):
    low = tuple(value - spread for value in values) if ends else ()
    high = tuple(value + spread for value in values) if ends else ()
    if all(not value < 0 and not value > 1 for value in values):  # shares, whose intervals are Wilson's
        low, high = tuple(max(0.0, end) for end in low), tuple(min(1.0, end) for end in high)
    return Line(name, tuple(values), low, high, tuple(x))


WORDINGS = (
    "What type of object is in this photo?",
    "Can you name the specific item pictured here?",
    "Identify the object in this image.",
    "What is the main object depicted in this photograph? Think about it step by step before you answer.",
)


def gap():
    bars = Plot(
        "Share right in the closed world, model and CLIP",
        (line("model", (0.02, 0.0, 0.31)), line("clip:shipped", (0.71, 0.83, 0.62))),
        ("inclusion", "whole word", "strict"),
        y_label="accuracy",
        kind="bars",
    )
    figures = (share("difference to clip", -0.69, 0.04), share("accuracy", 0.02, not_ok={"unparsed": 12, "refused": 3}),
               share("names_more_than_one_label", NAN, n=0, total=300),
               *(share(f"accuracy by rule {i}", i / 30) for i in range(10)))  # fmt: skip
    return Finding("gap", "Is it worse than its own encoder?", "yes", "CLIP is right 69 points more often (n 300).",
                   figures, (bars,), ("12 answers named no label.",), {"prompts": ["a", "b"], "seed": 0})  # fmt: skip


def prompts():
    bars = Plot(
        "Share right per wording", (line("share right", (0.02, 0.01, NAN, 0.04)),), WORDINGS, kind="bars"
    )
    signed = Plot(
        "Difference to the first wording",
        (line("difference", (0.0, -0.01, 0.02, -0.12)),),
        WORDINGS,
        y_label="points",
        kind="bars",
    )
    return Finding("prompts", "Is it the prompt?", "no", "No wording changes the share right by 5 points or more.",
                   (share("best minus first", 0.02, 0.02),), (bars, signed))  # fmt: skip


def label_sets():
    sizes = ("2", "5", "20", "100", "all")
    plot = Plot(
        "Share right by the number of labels to choose from",
        (line("model", (0.52, 0.3, 0.12, NAN, 0.02)), line("CLIP", (0.98, 0.95, 0.9, 0.84, 0.71)), line("chance", (0.5, 0.2, 0.05, 0.01, 0.002), ends=False)),
        sizes,
        x_label="labels offered",
        y_label="share right",
    )  # fmt: skip
    ratio = Plot(
        "Relative error",
        (line("model / CLIP", (24.0, 14.0, 8.8, 6.2, 3.4), 0.8),),
        sizes,
        x_label="labels offered",
        y_label="ratio of errors",
        share=False,
    )
    return Finding("label_sets", "Is it the size of the label set?", "no_evidence", "The gap stays as it is.",
                   (MetricValue("error ratio", 3.4, 2.6, 4.2, 300, 300),), (plot, ratio))  # fmt: skip


def probe():
    rng = Random("probe")
    layers = tuple(str(layer) for layer in range(33))
    rise = [min(0.97, 0.3 + layer / 40 + 0.04 * rng.random()) for layer in range(33)]
    flat = [0.3 + 0.1 * rng.random() if layer % 9 else NAN for layer in range(33)]
    many = tuple(line(name, [0.1 * place + 0.01 * step for step in range(6)], 0.02) for place, name in enumerate(
        ("embedding", "layer 4", "layer 8", "layer 16 of the language model", "layer 24", "layer 31", "encoder", "projector")))  # fmt: skip
    plots = (
        Plot(
            "Probe by layer", (line("last token", rise), line("mean", flat)), layers, "layer", "share right"
        ),
        Plot("Probe by position", many, ("0", "100", "200", "300", "-2", "-1"), "position", "share right"),
    )
    return Finding("probe", "Is the information lost?", "no", "A linear probe on the last layer is right on 97 %.",
                   (share("probe minus generated", 0.95, 0.03),), plots, ("Features of 1,000 training pictures.",),
                   {"solver": "lbfgs", "layers": list(range(33)), "tolerance": 1e-6})  # fmt: skip


def frequency():
    rng = Random("frequency")
    counts = [0.0, 0.0, *(10 ** (5 * rng.random()) for _ in range(60))]
    right = [min(1.0, max(0.0, math.log10(value + 1) / 6 + 0.3 * rng.random())) for value in counts]
    names = tuple(f"class {place}" for place in range(len(counts)))
    scatter = Plot("Mentions and share right, per class", (Line("classes", tuple(right), x=tuple(counts)),), names,
                   "mentions in the corpus", "share right", "points", log_x=True)  # fmt: skip
    binned = Plot("The same in bins", (line("model", (0.1, 0.2, 0.55, 0.8), x=(0.0, 10.0, 1000.0, 1e5)),
                  line("encoder", (0.8, 0.82, 0.79, 0.81), x=(0.0, 10.0, 1000.0, 1e5))), (), "mentions", "share right",
                  log_x=True)  # fmt: skip
    return Finding("frequency", "Is it the data?", "yes", "The more a class is mentioned, the more often it is right.",
                   (MetricValue("Spearman", 0.76, 0.62, 0.86, 62, 62), MetricValue("mentions counted", 1234567.0, NAN, NAN, 62, 62)),
                   (scatter, binned), ("2 classes are never mentioned.",))  # fmt: skip


def evil():
    plots = (
        Plot(EVIL, (Line(EVIL, (NAN, NAN)),), (EVIL, "x" * 300)),
        Plot("empty", (), kind="bars"),
        Plot("one", (Line("only", (0.5,), (0.4,), (0.6,)),), ("a",)),
        Plot(
            "infinite",
            (Line("a", (math.inf, -math.inf, 3.0), (NAN, NAN, 2.0), (NAN, NAN, 4.0)),),
            share=False,
        ),
        Plot(
            "loss",
            (Line("text", tuple(5 / (1 + 0.01 * step) for step in range(400))),),
            share=False,
            x_label="step",
        ),
    )
    return Finding(f"evil {EVIL}", EVIL, "no_evidence", "x" * 400 + EVIL, (share(EVIL, 0.5, not_ok={EVIL: 2}),), plots,
                   (EVIL,), {EVIL: EVIL})  # fmt: skip


def diagnosis(*extra):
    findings = (gap(), prompts(), label_sets(), probe(), frequency(), *extra)
    failed = (
        FailedQuestion(
            "objective",
            "Is it the training objective?",
            "set things: it has no train pictures; ask for another split",
        ),
    )
    settings = {"test pictures": 300, "training pictures": 1000, "seed": 0, "baseline": None}
    return Diagnosis("tiny", "0123456789abcdef" * 4, "things", 6, findings, failed, settings)


def evil_diagnosis():
    made = diagnosis(evil())
    return Diagnosis(
        EVIL, EVIL, "y" * 200 + EVIL, 6, made.findings, (FailedQuestion(EVIL, EVIL, EVIL),), {EVIL: EVIL}
    )
