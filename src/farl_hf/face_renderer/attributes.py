"""Ground-truth CelebA attributes of a drawn person; -100 where the drawing does not decide."""

import numpy as np

from farl_hf.face_renderer.person import Person, Pose
from farl_hf.labels import CELEBA_ATTRIBUTES

__all__ = ["UNKNOWN", "attributes_of", "sex_shown"]

UNKNOWN = -100
_HAIR_NAMES = {"black": "Black_Hair", "blond": "Blond_Hair", "brown": "Brown_Hair", "gray": "Gray_Hair"}


def _between(value: float, no: float, yes: float) -> int:
    """1 at or beyond `yes`, 0 at or before `no`, unknown between; `yes` may be the smaller."""
    if (value >= yes) if yes > no else (value <= yes):
        return 1
    return 0 if ((value <= no) if yes > no else (value >= no)) else UNKNOWN


def _hair_facts(person: Person) -> dict[str, int]:
    hair, hidden = person.hair, bool(person.worn.hat)
    facts: dict[str, int] = {}
    if (hidden and hair.length <= 0) or hair.bald:
        colour = dict.fromkeys(_HAIR_NAMES.values(), UNKNOWN if hidden else 0)
    else:
        colour = {name: int(person.identity.hair_colour == key) for key, name in _HAIR_NAMES.items()}
    facts.update(colour)
    facts["Bald"] = UNKNOWN if hidden else int(hair.bald)
    facts["Bangs"] = UNKNOWN if hidden else (0 if hair.bald else {"full": 1, "swept": UNKNOWN}.get(hair.fringe, 0))
    facts["Receding_Hairline"] = UNKNOWN if hidden or hair.bald else _between(hair.recede, 0.0, 0.6)
    texture = hair.length > 4 and not hair.bald
    facts["Wavy_Hair"] = _between(max(hair.wave, hair.curl), 0.0, 0.4) if texture else UNKNOWN
    facts["Straight_Hair"] = (1 - facts["Wavy_Hair"]) if texture and facts["Wavy_Hair"] >= 0 else UNKNOWN
    return facts


def _facial_hair_facts(person: Person) -> dict[str, int]:
    face = person.identity
    any_hair = face.stubble > 0 or face.beard > 0 or face.goatee or face.moustache > 0
    return {
        "5_o_Clock_Shadow": UNKNOWN if face.beard > 0 or face.goatee else _between(face.stubble, 0.0, 0.6),
        "Goatee": UNKNOWN if face.beard > 0 else int(face.goatee),
        "Mustache": UNKNOWN if face.beard > 0 else int(face.moustache > 0),
        "No_Beard": UNKNOWN
        if 0 < face.stubble < 0.6
        else int(not any_hair or (face.stubble == 0 and face.beard == 0 and not face.goatee)),
        "Sideburns": UNKNOWN
        if person.worn.hat or person.hair.length > 0 or face.stubble > 0
        else int(face.sideburns > 0),
    }


def _face_facts(person: Person) -> dict[str, int]:
    face, mood, worn = person.identity, person.mood, person.worn
    dark = worn.glasses == "sun"
    eyes = UNKNOWN if dark else None
    cover_mouth = bool(worn.occluder)
    opening = face.eye_height * (1 - max(mood.blink))
    return {
        "Arched_Eyebrows": UNKNOWN if dark else _between(face.brow_arch, 0.4, 0.75),
        "Bushy_Eyebrows": UNKNOWN if dark else _between(face.brow_thickness, 0.33, 0.41),
        "Bags_Under_Eyes": eyes or _between(face.bags, 0.25, 0.6),
        "Narrow_Eyes": eyes or _between(opening * (1 - 0.2 * mood.squint), 0.76, 0.58),
        "Big_Lips": UNKNOWN if cover_mouth else _between(face.lip_upper + face.lip_lower, 1.68, 2.1),
        "Big_Nose": _between(face.shape["nose_width"] + 0.5 * face.shape["nose_height"], 0.12, 0.35),
        "Heavy_Makeup": int(face.lipstick > 0.5) if face.lipstick > 0.5 or face.lipstick == 0 else UNKNOWN,
        "Wearing_Lipstick": UNKNOWN if cover_mouth else _between(face.lipstick, 0.1, 0.5),
        "Pale_Skin": _between(face.tone, 1.6, 0.7),
        "Rosy_Cheeks": UNKNOWN if face.beard > 0 else _between(max(face.rouge, 0.6 * face.redness), 0.35, 0.55),
        "Mouth_Slightly_Open": UNKNOWN if cover_mouth else int(mood.gap > 0.2),
        "Smiling": UNKNOWN if cover_mouth else _between(mood.smile, 0.0, 0.5),
        "Eyeglasses": int(bool(worn.glasses)),
        "Wearing_Hat": int(bool(worn.hat)),
        "Chubby": _between(face.shape["cheek_fat"] + 4 * (face.shape["jaw"] - 1), 0.1, 0.5),
        "Young": _between(face.wrinkles, 0.7, 0.1),
    }


def attributes_of(person: Person, pose: Pose, blur: float, body_visible: bool) -> np.ndarray:
    """(40,) int64 in {0, 1, -100}, CelebA's order."""
    clothes, hair = person.clothes, person.hair
    ears = hair.length <= 0 and person.worn.hat not in ("hood", "scarf", "helmet") and abs(pose.yaw) < 0.5
    facts = {**_hair_facts(person), **_facial_hair_facts(person), **_face_facts(person)}
    facts["Blurry"] = _between(blur * 45 / max(pose.eye_distance_px, 1), 0.7, 1.3)
    facts["Wearing_Earrings"] = int(clothes.earrings) if ears else (UNKNOWN if clothes.earrings else 0)
    facts["Wearing_Necktie"] = int(clothes.tie) if body_visible else UNKNOWN
    facts["Wearing_Necklace"] = int(clothes.necklace) if body_visible and hair.length < 12 else UNKNOWN
    facts["Male"] = sex_shown(person)
    by_name = {name.lower(): value for name, value in facts.items()}
    return np.array([by_name.get(name, UNKNOWN) for name in CELEBA_ATTRIBUTES], np.int64)


def sex_shown(person: Person) -> int:
    """1 for men, 0 for women, only where drawn cues decide: facial hair, or make-up with long hair."""
    face = person.identity
    if (
        face.beard > 0
        or face.moustache > 0
        or face.stubble > 0.5
        or face.goatee
        or (face.male and person.hair.length == 0)
    ):
        return 1
    return 0 if not face.male and (person.hair.length > 4 or face.lipstick > 0.5) else UNKNOWN
