"""The limits are those that docs/input.md names, and each is really looked at somewhere."""

from pathlib import Path

import pytest

from keepsight.errors import KeepsightError
from keepsight.limits import LIMITS, limit

ROOT = Path(__file__).parents[1]


def test_the_page_names_every_limit_with_its_default():
    page = (ROOT / "docs" / "input.md").read_text()
    for name, (default, meaning) in LIMITS.items():
        assert f"| `{name}` | {default:,} | {meaning} |" in page


def test_every_limit_is_in_use():
    source = "".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    assert [name for name in LIMITS if f'limit("{name}")' not in source] == []


@pytest.mark.parametrize("name", LIMITS)
def test_a_variable_changes_a_limit(name, monkeypatch):
    assert limit(name) == LIMITS[name][0]
    monkeypatch.setenv(f"KEEPSIGHT_{name}", "7")
    assert limit(name) == 7
    for wrong in ("0", "-1", "1.5", "many", ""):
        monkeypatch.setenv(f"KEEPSIGHT_{name}", wrong)
        with pytest.raises(
            KeepsightError, match=f"KEEPSIGHT_{name} is '{wrong}'; give a whole number above 0"
        ):
            limit(name)


def test_tables_above_the_limits_are_refused(tmp_path, monkeypatch):
    import pyarrow as pa
    import pyarrow.parquet as pq

    from keepsight.data.readers import read_parquet

    pq.write_table(pa.table({"image": [b"x" * 100] * 9, "label": ["a"] * 9}), tmp_path / "x.parquet")
    monkeypatch.setenv("KEEPSIGHT_MAX_ROWS", "8")
    with pytest.raises(KeepsightError, match="has 9 rows, more than 8; set KEEPSIGHT_MAX_ROWS"):
        read_parquet(tmp_path / "x.parquet")
    monkeypatch.setenv("KEEPSIGHT_MAX_ROWS", "9")
    monkeypatch.setenv("KEEPSIGHT_MAX_TABLE_BYTES", "20")
    with pytest.raises(KeepsightError, match="row group 0 is larger than 20 bytes; write smaller row groups"):
        read_parquet(tmp_path / "x.parquet")
