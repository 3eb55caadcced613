"""keepsight."""
