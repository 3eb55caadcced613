"""Runs and matrices shown to people: one self-contained HTML page, a table for the terminal. Never needs torch."""

from keepsight.report.episode_text import episode_text
from keepsight.report.page import write_html
from keepsight.report.terminal import matrix_table

__all__ = ["episode_text", "matrix_table", "write_html"]
