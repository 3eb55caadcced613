from keepsight.report.comparisons import read_audit
from keepsight.report.verdict import verdict
from tests.report.fake_audit import small_audit

KEPT = ["cat", "dog", "ship"] * 20
HALF = ["cat", "3", "4"] * 20
GONE = ["3"] * 60


def told(matrix):
    found = verdict(read_audit(matrix))
    return (
        found.text,
        ["".join(part.text for part in line.parts) for line in found.lines],
        [x.kind for x in found.lines],
    )


def test_worst_method_comes_first_and_every_claim_has_its_interval(demo):
    headline, lines, kinds = told(demo)
    assert headline.startswith("lora/epoch-3 forgot 6 of 6 other sets: the largest drop is cards, 97 → ")
    assert "; linear/epoch-3 forgot " in headline
    assert kinds[0] == "forgotten" and lines[0].startswith("lora/epoch-3 lost most on cards, ")
    assert all("interval" in line and "n\u00a0" in line for line in lines)


def test_tuned_set_is_told_apart():
    cells = {("base", "x"): GONE, ("base", "y"): KEPT, ("a/epoch-1", "x"): KEPT, ("a/epoch-1", "y"): HALF}
    headline, lines, kinds = told(small_audit(cells, meta={"tuned_on": {"a/epoch-1": "x"}}))
    assert headline == "a/epoch-1 forgot 1 of 1 other set: the largest drop is y, 100 → 33 %."
    assert kinds == ["forgotten", "improved"]
    assert "the set it was tuned on, rose 0.0 → 100.0" in lines[1]


def test_no_evidence_is_not_called_kept():
    almost = ["3", *KEPT[1:]]
    headline, lines, kinds = told(small_audit({("base", "x"): KEPT, ("a", "x"): almost}))
    assert headline == "a shows no evidence of forgetting on 1 set."
    assert kinds == ["no evidence"] and "may be chance" in lines[0]


def test_gain_alone_is_no_drop():
    headline, lines, _ = told(small_audit({("base", "x"): GONE, ("a", "x"): KEPT}))
    assert headline == "a shows no evidence of forgetting on 1 set and improved on 1."
    assert len(lines) == 1 and lines[0].startswith(
        "a improved on 1 set, most on x, 0.0 → 100.0: +100.0 points"
    )
