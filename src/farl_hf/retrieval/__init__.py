"""Faces and texts in one space: which text fits which face, and which of many faces fits a text."""
