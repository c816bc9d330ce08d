"""Where in a face a text, an attribute or a class is seen: heat maps of the vision encoder."""

from farl_hf.explanation.explaining import FaceExplanation, explain

__all__ = ["FaceExplanation", "explain"]
