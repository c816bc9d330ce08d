"""The models that ship inside the package, and which of them each task uses unless told otherwise."""

__all__ = ["DEFAULT_CHECKPOINTS", "EMBEDDED_CHECKPOINTS"]

# Name -> what it does. The files live in the folder of the same name beside this file.
EMBEDDED_CHECKPOINTS = {
    "retinaface-tiny": "face-detection",
    "farl-tiny-parsing": "face-parsing",
    "farl-tiny-landmarks": "face-landmarks",
    "farl-tiny-attributes": "face-attributes",
    "farl-tiny": "zero-shot-image-classification",
    "farl-tiny-generator": "unconditional-image-generation",
}

# Those of Hugging Face's tasks are no defaults of ours: they are asked for by their names.
DEFAULT_CHECKPOINTS = {task: name for name, task in EMBEDDED_CHECKPOINTS.items() if task.startswith("face-")}
