"""Runs on disk: every question, answer and score, resumable, and the pictures once by content."""

from keepsight.store.files import StoreError, require_place
from keepsight.store.matrix import load_evaluation, load_matrix, write_matrix
from keepsight.store.replies import JudgeReplies
from keepsight.store.rows import Identity, is_final, sample_hash
from keepsight.store.runs import RunWriter, Store, load_run, load_runs
from keepsight.store.schema import json_schema

__all__ = [
    "Identity",
    "JudgeReplies",
    "RunWriter",
    "Store",
    "StoreError",
    "is_final",
    "json_schema",
    "load_evaluation",
    "load_matrix",
    "load_run",
    "load_runs",
    "require_place",
    "sample_hash",
    "write_matrix",
]
