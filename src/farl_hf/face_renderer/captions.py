"""English captions of drawn people: what shows is named, in the loose wording of captions found on the web.

Wording and the choice of details come from a generator of their own, so that the picture of a number never depends on
how it is described.
"""

import numpy as np

from farl_hf.face_renderer.attributes import UNKNOWN, sex_shown
from farl_hf.face_renderer.person import Person, Pose
from farl_hf.face_renderer.random_choice import pick, pick_any

__all__ = ["caption_of"]

_OPENINGS = ("a photo of ", "a photo of ", "a portrait of ", "a picture of ", "a close up of ", "")
_NOUNS = {1: ("man", "man", "guy"), 0: ("woman", "woman", "lady"), UNKNOWN: ("person",)}
# How many details a caption names, and how likely each number is: captions found on the web are short.
_NUM_DETAILS, _NUM_WEIGHTS = (1, 2, 3, 4), (0.25, 0.35, 0.25, 0.15)
# How likely a detail is named, beside the others, 1 unless listed: what catches the eye first.
_SALIENT = {
    "smiling": 3.0,
    "happy": 3.0,
    "sad": 2.0,
    "bald": 2.0,
    "hat": 3.0,
    "glasses": 3.0,
    "hair": 2.0,
    "beard": 2.0,
}
# Display RGB of the cloth colours that a caption tells apart.
_CLOTH_NAMES = {
    "black": (30, 30, 34), "white": (240, 240, 238), "navy": (40, 50, 80), "orange": (225, 95, 30),
    "red": (170, 30, 40), "green": (60, 90, 60), "gray": (120, 120, 125), "beige": (200, 180, 150),
    "brown": (80, 60, 50), "blue": (70, 110, 170), "yellow": (225, 200, 70), "pink": (190, 120, 160),
    "purple": (110, 40, 70), "teal": (20, 80, 100),
}  # fmt: skip
_GARMENTS = {"suit": "suit", "shirt": "shirt", "high": "turtleneck", "ring": "sweater", "round": "t-shirt", "v": "top"}
_PATTERNS = {"plain": "", "stripes": "striped ", "checks": "checked ", "dots": "dotted "}


def caption_of(person: Person, pose: Pose, body_visible: bool, rng: np.random.Generator) -> str:
    """One English sentence about a person, which names one to four details that show.

    Args:
        person (`Person`): Who was drawn.
        pose (`Pose`): How the head is turned.
        body_visible (`bool`): Whether the collar lies inside the photo.
        rng (`np.random.Generator`): Draws the wording.
    """
    noun = pick_any(rng, _NOUNS[sex_shown(person)])
    opening = pick_any(rng, _OPENINGS)
    details = [
        *(("is", word) for word in _adjectives(person, rng)),
        *(("with", word) for word in _hair(person) + _facial_hair(person, rng) + _features(person)),
        *(("wearing", word) for word in _worn(person, rng) + _lipstick(person)),
        *(("wearing", word) for word in (_clothes(person) if body_visible else [])),
        *(("turned", word) for word in _direction(pose)),
    ]
    named = _chosen(details, rng)
    whom = " ".join([*named["is"], noun])
    return " ".join(
        [
            f"{opening}{_with_article(whom)}",
            *_listed("with", named["with"]),
            *_listed("wearing", named["wearing"]),
            *named["turned"],
        ]
    )


def _chosen(details: list[tuple[str, str]], rng: np.random.Generator) -> dict[str, list[str]]:
    """Some of the (kind, word) pairs by kind, in their order."""
    count = min(pick(rng, _NUM_DETAILS, _NUM_WEIGHTS), len(details))
    weights = [max([1.0, *(weight for key, weight in _SALIENT.items() if key in word)]) for _, word in details]
    # The largest of u ** (1 / w) are a weighted draw without repeats (Efraimidis and Spirakis 2006).
    keys = rng.random(len(details)) ** (1 / np.array(weights))
    kept = set(np.argsort(-keys)[:count].tolist())
    named: dict[str, list[str]] = {kind: [] for kind in ("is", "with", "wearing", "turned")}
    for number, (kind, word) in enumerate(details):
        if number in kept:
            named[kind].append(word)
    return named


def _with_article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _listed(verb: str, items: list[str]) -> list[str]:
    if not items:
        return []
    return [f"{verb} {', '.join(items[:-1])}{' and ' if len(items) > 1 else ''}{items[-1]}"]


def _adjectives(person: Person, rng: np.random.Generator) -> list[str]:
    mouth_shows, wrinkles = not person.worn.occluder, person.identity.wrinkles
    ages = ["old"] if wrinkles > 0.7 else (["young"] if wrinkles < 0.1 else [])
    words = list(ages)
    if mouth_shows and person.mood.smile >= 0.5:
        words.append(pick_any(rng, ("smiling", "smiling", "happy")))
    elif mouth_shows and person.mood.mouth_frown >= 0.4:
        words.append("sad")
    if person.hair.bald and not person.worn.hat:
        words.append("bald")
    return words


def _hair(person: Person) -> list[str]:
    hair = person.hair
    if hair.bald or (person.worn.hat and hair.length <= 0):
        return []
    shape = "straight " if hair.length > 4 else ""
    shape = "curly " if hair.curl > 0.4 else ("wavy " if hair.wave > 0.4 else shape)
    length = "long " if hair.length > 10 else ("short " if hair.length == 0 else "")
    length = "tied " if hair.bun else length
    bangs = ["bangs"] if hair.fringe == "full" and not person.worn.hat else []
    return [f"{length}{shape}{person.identity.hair_colour} hair", *bangs]


def _facial_hair(person: Person, rng: np.random.Generator) -> list[str]:
    face = person.identity
    if face.beard > 0:
        return ["a beard"]
    if face.goatee:
        return ["a goatee"]
    if face.moustache > 0:
        return [pick_any(rng, ("a mustache", "a moustache"))]
    return ["stubble"] if face.stubble >= 0.6 else []


def _features(person: Person) -> list[str]:
    face, mood = person.identity, person.mood
    facts = {
        "pale skin": face.tone < 1.6,
        "brown skin": 4.5 < face.tone < 6.5,
        "dark skin": face.tone >= 6.5,
        "freckles": face.freckles > 0.5,
        "an open mouth": mood.gap > 0.2 and not person.worn.occluder,
        "closed eyes": min(mood.blink) > 0.8 and person.worn.glasses != "sun",
    }
    return [name for name, shown in facts.items() if shown]


def _worn(person: Person, rng: np.random.Generator) -> list[str]:
    worn = person.worn
    glasses = {"": [], "sun": ["sunglasses"], "clear": [pick_any(rng, ("eyeglasses", "glasses"))]}
    return glasses[worn.glasses] + (["a hat"] if worn.hat else [])


def _lipstick(person: Person) -> list[str]:
    return ["lipstick"] if person.identity.lipstick > 0.5 and not person.worn.occluder else []


def _clothes(person: Person) -> list[str]:
    clothes = person.clothes
    distances = {name: np.abs(np.divide(rgb, 255) - clothes.rgb).sum() for name, rgb in _CLOTH_NAMES.items()}
    cloth = (
        f"{_PATTERNS[clothes.pattern]}{min(distances, key=lambda name: distances[name])} {_GARMENTS[clothes.collar]}"
    )
    items = {
        "a necklace": clothes.necklace and person.hair.length < 12,
        "a tie": clothes.tie,
        _with_article(cloth): True,
    }
    return [name for name, shown in items.items() if shown]


def _direction(pose: Pose) -> list[str]:
    """Sides are those of the picture."""
    yaw, pitch = np.degrees((pose.yaw, pose.pitch))
    if abs(yaw) > 25:
        return ["looking to the right" if yaw > 0 else "looking to the left"]
    if abs(pitch) > 14:
        return ["looking down" if pitch > 0 else "looking up"]
    return []
