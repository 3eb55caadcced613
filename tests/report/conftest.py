"""Audits and pages that several report tests read. Built once; treat them as read-only."""

import pytest

from keepsight.report import write_html
from tests.report.fake_audit import demo_audit, evil_audit
from tests.report.fake_sequence import fake_gates, fake_sequence


@pytest.fixture(scope="session")
def demo():
    return demo_audit(n=60)


@pytest.fixture(scope="session")
def demo_page(demo, tmp_path_factory):
    return write_html(demo, tmp_path_factory.mktemp("page") / "forgetting.html")


@pytest.fixture(scope="session")
def sequence_page(tmp_path_factory):
    tasks = ("choices", "reading", "boxes")
    matrix = fake_sequence(tasks, n=30, meta={"gates": {"3-boxes": fake_gates(tasks)}})
    return write_html(matrix, tmp_path_factory.mktemp("sequence") / "forgetting.html")


@pytest.fixture(scope="session")
def evil_page(tmp_path_factory):
    return write_html(evil_audit(), tmp_path_factory.mktemp("evil") / "evil.html")
