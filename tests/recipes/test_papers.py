"""docs/papers.md is generated: what stands there is what the recorded claims say."""

from recipes.papers import DOCS, page


def test_papers_md_is_up_to_date():
    assert (DOCS / "papers.md").read_text(encoding="utf-8") == page(DOCS / "results")
