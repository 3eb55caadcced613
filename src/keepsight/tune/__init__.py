"""Tuning: the loops that make the next row of a result matrix."""
