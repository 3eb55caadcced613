"""How results look when they are printed: short, whatever they hold."""

from keepsight import ResultMatrix, audit
from tests.fake_vlm import FakeVLM, make_task, samples


def test_a_matrix_prints_as_a_table_and_a_run_as_a_line(tmp_path):
    half = FakeVLM("half", "h", {f"s{i:03}": "mouse" for i in range(10)})
    tasks = [make_task(samples(20), name=name) for name in ("pets", "wild")]
    matrix = audit([FakeVLM("base", "b"), half], tasks, tmp_path, report=False)
    table = [
        "      pets             wild",
        "base  share 1, n 20    share 1, n 20",
        "half  share 0.5, n 20  share 0.5, n 20",
    ]
    assert str(matrix).splitlines() == repr(matrix).splitlines() == table
    assert repr(matrix["half", "pets"]) == "Run(half on pets: share 0.5, n 20)"


def test_what_is_missing_and_what_a_terminal_would_obey(tmp_path):
    matrix = ResultMatrix(("a\x1b[2J", "b\n"), ("pets",), {})
    assert str(matrix).splitlines() == ["       pets", "a�[2J  -", "b�     -"]
    assert str(ResultMatrix((), (), {})) == ""
