"""Where in a face a text, an attribute or a class is seen: heat maps of the image tower."""

from farl_hf.explanation.explaining import FaceExplanation, explain

__all__ = ["FaceExplanation", "explain"]
