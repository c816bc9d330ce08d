"""Sentences that stand for an attribute in zero-shot classification, and their wrappers for prompt ensembling.

Wrappers in the manner of openai/CLIP's `prompts/`: a sentence's feature is the mean over all of them.
"""

__all__ = ["ATTRIBUTE_PROMPTS", "PROMPT_WRAPPERS"]

PROMPT_WRAPPERS = ("a photo of {}", "a portrait of {}", "a picture of {}", "a close up of {}")

# CelebA attribute: descriptions of a face that has it, and of one that has not.
ATTRIBUTE_PROMPTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "eyeglasses": (
        ("a person wearing eyeglasses", "a man with glasses", "a woman wearing glasses", "a man wearing sunglasses"),
        ("a person", "a man", "a woman"),
    ),
    "smiling": (
        ("a smiling person", "a smiling man", "a smiling woman", "a happy man", "a happy woman"),
        ("a person", "a sad person", "a man", "a woman", "a sad man", "a sad woman"),
    ),
    "wearing_hat": (
        ("a person wearing a hat", "a man wearing a hat", "a woman wearing a hat"),
        ("a person with short hair", "a bald man", "a man with hair", "a woman with long hair"),
    ),
    "male": (("a man", "a guy", "a smiling man"), ("a woman", "a lady", "a smiling woman")),
    "black_hair": (
        ("a person with black hair", "a man with short black hair", "a woman with long black hair"),
        ("a person with brown hair", "a person with blond hair", "a person with gray hair", "a person with red hair"),
    ),
    "blond_hair": (
        ("a person with blond hair", "a man with short blond hair", "a woman with long blond hair"),
        ("a person with brown hair", "a person with black hair", "a person with gray hair", "a person with red hair"),
    ),
    "gray_hair": (
        ("a person with gray hair", "an old man with short gray hair", "an old woman with gray hair"),
        ("a person with brown hair", "a person with black hair", "a person with blond hair", "a person with red hair"),
    ),
    "bald": (("a bald man", "a bald person"), ("a man with short hair", "a woman with long hair")),
    "mouth_slightly_open": (
        ("a person with an open mouth", "a man with an open mouth", "a woman with an open mouth"),
        ("a person", "a man", "a woman"),
    ),
    "pale_skin": (
        ("a person with pale skin", "a man with pale skin", "a woman with pale skin"),
        ("a person with dark skin", "a person with brown skin", "a man with dark skin", "a woman with dark skin"),
    ),
    "young": (("a young person", "a young man", "a young woman"), ("an old person", "an old man", "an old woman")),
}  # fmt: skip
