"""The forty attributes of CelebA, and sentences that describe them for zero-shot classification."""

# In the order of `list_attr_celeba.txt`; LFWA has the same names and order. No attribute belongs to one side of the
# face, so a mirrored picture has the same attributes.
CELEBA_ATTRIBUTES = (
    "5_o_clock_shadow",
    "arched_eyebrows",
    "attractive",
    "bags_under_eyes",
    "bald",
    "bangs",
    "big_lips",
    "big_nose",
    "black_hair",
    "blond_hair",
    "blurry",
    "brown_hair",
    "bushy_eyebrows",
    "chubby",
    "double_chin",
    "eyeglasses",
    "goatee",
    "gray_hair",
    "heavy_makeup",
    "high_cheekbones",
    "male",
    "mouth_slightly_open",
    "mustache",
    "narrow_eyes",
    "no_beard",
    "oval_face",
    "pale_skin",
    "pointy_nose",
    "receding_hairline",
    "rosy_cheeks",
    "sideburns",
    "smiling",
    "straight_hair",
    "wavy_hair",
    "wearing_earrings",
    "wearing_hat",
    "wearing_lipstick",
    "wearing_necklace",
    "wearing_necktie",
    "young",
)

# Prompt ensembling as openai/CLIP does it (data/prompts.md, line 5): a sentence's feature is the mean over all
# wrappers. Each sentence is a class of its own; a face has the attribute if the nearest sentence describes a face with
# it.
PROMPT_WRAPPERS = ("a photo of {}", "a portrait of {}", "a picture of {}", "a close up of {}", "{}")

_COLOURS = ("black", "blond", "brown", "gray", "red", "dyed")
_HEADS = tuple(f"a {who} with {hair} hair" for who in ("man", "woman") for hair in _COLOURS)


def _hair(*colours: str) -> tuple[str, ...]:
    return tuple(
        f"a {who} with {length} {colour} hair"
        for who in ("man", "woman")
        for length in ("short", "long")
        for colour in colours
    )


def _one_colour(colour: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return _hair(colour), _hair(*(other for other in _COLOURS if other != colour))


# CelebA attribute: descriptions of a face with it, and of one without it.
ATTRIBUTE_PROMPTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "black_hair": _one_colour("black"),
    "blond_hair": _one_colour("blond"),
    "brown_hair": _one_colour("brown"),
    "gray_hair": _one_colour("gray"),
    "bald": (("a bald man",), ("a man wearing a hat", *_HEADS)),
    "wearing_hat": (
        ("a person wearing a hat", "a man wearing a hat", "a woman wearing a hat"),
        ("a bald man", *_HEADS),
    ),
    "bangs": (
        ("a man with short hair and bangs", "a woman with long hair and bangs"),
        ("a man with short hair", "a woman with long hair"),
    ),
    "pale_skin": (
        ("a man with pale skin", "a woman with pale skin"),
        (
            *("a man with dark skin", "a woman with dark skin", "a man with brown skin", "a woman with brown skin"),
            *("a man with short hair", "a woman with long hair"),
        ),
    ),
    "male": (
        ("a man with short hair", "a man with a beard", "a bald man", "a guy with a mustache"),
        ("a woman with long hair", "a lady wearing lipstick", "a woman with curly hair"),
    ),
    "young": (("a young man", "a young woman"), ("an old man", "an old woman")),
    "eyeglasses": (
        ("a man wearing glasses", "a woman wearing glasses", "a man with eyeglasses", "a man wearing sunglasses"),
        ("a man", "a woman", "a person"),
    ),
    "smiling": (
        ("a smiling man", "a smiling woman", "a happy man", "a happy woman"),
        ("a man", "a woman", "a sad man", "a sad woman"),
    ),
    "mouth_slightly_open": (("a man with an open mouth", "a woman with an open mouth"), ("a man", "a woman")),
}  # fmt: skip
