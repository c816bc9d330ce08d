"""Hundreds of bad and odd inputs, each judged: a right answer, one clear sentence, or a fault. See `__main__.py`."""
