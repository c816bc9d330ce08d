"""Who is drawn and what the face does: sampled traits of one person, all plain numbers."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from farl_hf.face_renderer.random_choice import pick, pick_any

__all__ = ["Expression", "Identity", "sample_expression", "sample_identity"]

# Display RGB from very pale to very dark, after the Monk skin tone scale with photographs' warmer middle tones.
_SKIN_TONES = np.array(
    [
        (250, 226, 212), (245, 212, 194), (238, 198, 174), (228, 183, 155), (216, 166, 134), (199, 146, 113),
        (176, 123, 91), (147, 98, 70), (116, 75, 53), (88, 57, 42), (66, 43, 34),
    ],
    np.float32,
) / 255  # fmt: skip
HAIR_COLOURS = {
    "black": np.array([(26, 22, 21), (38, 31, 28), (20, 20, 24)], np.float32) / 255,
    "brown": np.array([(72, 48, 33), (92, 62, 42), (112, 74, 48), (84, 50, 32), (128, 88, 58)], np.float32) / 255,
    "blond": np.array([(205, 168, 112), (222, 190, 138), (190, 150, 96), (232, 208, 165)], np.float32) / 255,
    "gray": np.array(
        [(150, 148, 146), (190, 188, 185), (222, 220, 216), (128, 126, 126), (238, 236, 230), (104, 102, 102)],
        np.float32,
    )
    / 255,
    "red": np.array([(140, 62, 32), (165, 82, 42), (120, 46, 28)], np.float32) / 255,
    "dyed": np.array([(180, 40, 90), (60, 80, 170), (70, 140, 90), (130, 60, 150)], np.float32) / 255,
}
_EYE_COLOURS = np.array(
    [(72, 44, 26), (92, 60, 34), (52, 34, 24), (110, 84, 48), (98, 108, 70), (92, 122, 145),
     (120, 140, 150), (40, 28, 22)],
    np.float32,
) / 255  # fmt: skip


@dataclass(frozen=True)
class Identity:
    """Permanent traits. Lengths in cm, fractions 0..1, colours display RGB 0..1."""

    male: bool
    age: float
    skin_rgb: np.ndarray
    tone: float
    redness: float
    freckles: float
    wrinkles: float
    bags: float
    eye_rgb: np.ndarray
    eye_spacing: float
    eye_width: float
    eye_height: float
    eye_tilt: float
    brow_height: float
    brow_arch: float
    brow_tail: float
    brow_inner: float
    brow_length: float
    brow_thickness: float
    brow_rgb: np.ndarray
    brow_density: float
    mouth_width: float
    lip_upper: float
    lip_lower: float
    nose_label_width: float
    shape: dict[str, float]
    hair_colour: str
    hair_rgb: np.ndarray
    stubble: float
    beard: float
    beard_cm: float
    beard_rgb: np.ndarray
    goatee: bool
    moustache: float
    sideburns: float
    lipstick: float
    lipstick_rgb: np.ndarray
    eye_shadow: float
    eye_shadow_rgb: np.ndarray
    mascara: float
    rouge: float
    gloss: float


@dataclass(frozen=True)
class Expression:
    """What the face does at this moment, 0..1; `gap` is the opening between the lips on the surface in cm."""

    smile: float
    jaw: float
    gap: float
    brow_raise: float
    frown: float
    mouth_frown: float
    pucker: float
    squint: float
    blink: tuple[float, float]
    gaze: tuple[float, float]
    teeth: bool


def _limited(value: float, low: float, high: float) -> float:
    """`np.clip` of one number takes as long as drawing it."""
    return min(max(value, low), high)


def _skin(rng: np.random.Generator) -> tuple[np.ndarray, float]:
    tone = float(_limited(rng.beta(1.1, 1.6) * 10, 0, 9.99))
    low = int(tone)
    rgb = _SKIN_TONES[low] + (tone - low) * (_SKIN_TONES[low + 1] - _SKIN_TONES[low])
    return np.clip(rgb * (1 + rng.normal(0, [0.02, 0.025, 0.03])), 0.05, 0.99).astype(np.float32), tone


def _hair_colour(rng: np.random.Generator, tone: float, age: float) -> tuple[str, np.ndarray]:
    names = list(HAIR_COLOURS)
    weights = np.array([0.32, 0.32, 0.24 * (tone < 5) + 0.02, 0.07 + 1.4 * max(age - 0.5, 0), 0.06 * (tone < 5), 0.02])
    name = pick(rng, names, weights / weights.sum())
    rgb = HAIR_COLOURS[name][rng.integers(len(HAIR_COLOURS[name]))]
    return name, np.clip(rgb * (1 + rng.normal(0, 0.08)) + rng.normal(0, 0.01, 3), 0.03, 0.97).astype(np.float32)


def _head_shape(rng: np.random.Generator, male: bool, age: float) -> dict[str, float]:
    """Amplitudes for `head_shape.make_head`: spread of each field around means that lean on sex and age."""
    lean = 1.0 if male else -1.0
    table = {
        "brow_ridge": (0.18 * lean, 0.12), "cheekbone": (-0.05 * lean, 0.2), "cheek_fat": (-0.05, 0.35),
        "temple": (0, 0.2), "forehead": (-0.1 * lean, 0.2), "jaw_angle": (0.25 * lean, 0.3), "chin": (0.1 * lean, 0.2),
        "chin_length": (0.35 + 0.15 * lean, 0.4), "chin_width": (0.25 * lean, 0.25), "muzzle": (0, 0.25),
        "nose_ball": (0.05, 0.15), "nose_height": (0.1 * lean, 0.35), "nose_drop": (0.05 * lean, 0.22),
        "nose_width": (0.02 * lean, 0.16), "nose_wing": (0.05 * lean, 0.2), "socket": (0.05 * lean, 0.15),
        "fold": (0.25 * max(age - 0.3, 0), 0.05), "eyeball": (0, 0.1), "lip_lower": (0, 0.08),
    }  # fmt: skip
    shape = {name: float(mean + spread * rng.normal()) for name, (mean, spread) in table.items()}
    shape["width"] = float(_limited(1 + 0.045 * rng.normal(), 0.88, 1.13))
    shape["height"] = float(_limited(1 + 0.03 * rng.normal(), 0.93, 1.07))
    shape["jaw"] = float(_limited(1.02 + 0.03 * lean + 0.06 * rng.normal(), 0.88, 1.2))
    return shape


def _facial_hair(rng: np.random.Generator, male: bool, age: float, brow_rgb: np.ndarray) -> dict[str, Any]:
    grey = _limited((age - 0.5) * rng.uniform(0, 2.5), 0, 0.9)
    rgb = brow_rgb * rng.uniform(0.75, 1.3) * (1 - grey) + grey * rng.uniform(0.45, 0.85)
    out = {"stubble": 0.0, "beard": 0.0, "beard_cm": 0.0, "beard_rgb": rgb.astype(np.float32), "goatee": False,
           "moustache": 0.0, "sideburns": 0.0}  # fmt: skip
    if not male:
        return out
    kind = pick(rng, ("none", "stubble", "beard", "goatee", "moustache"), (0.38, 0.24, 0.24, 0.08, 0.06))
    if kind == "stubble":
        out["stubble"] = float(rng.uniform(0.15, 1.0))
    if kind == "beard":
        out["beard"] = float(rng.uniform(0.5, 1.0))
        out["beard_cm"] = float(pick(rng, (0.0, rng.uniform(0.2, 1.2), rng.uniform(1.2, 5)), (0.4, 0.4, 0.2)))
        out["moustache"] = float(rng.uniform(0.6, 1.0))
        out["sideburns"] = 1.0
    if kind == "goatee":
        out["goatee"] = True
        out["moustache"] = float(rng.uniform(0.6, 1.0) * (rng.random() < 0.8))
    if kind == "moustache":
        out["moustache"] = float(rng.uniform(0.7, 1.0))
    if rng.random() < 0.15:
        out["sideburns"] = 1.0
    return out


def _makeup(rng: np.random.Generator, male: bool, skin_rgb: np.ndarray) -> dict[str, Any]:
    worn = 0.0 if male else pick(rng, (0.0, 0.5, 1.0), (0.4, 0.25, 0.35))
    lips = np.array([(170, 40, 52), (190, 70, 80), (200, 95, 105), (140, 30, 48), (205, 60, 90)], np.float32) / 255
    shadows = np.array([(110, 80, 70), (90, 70, 95), (70, 85, 110), (150, 105, 80), (60, 50, 50)], np.float32) / 255
    dark = 0.55 + 0.45 * float(skin_rgb.mean())
    return {
        "lipstick": worn * float(rng.uniform(0.7, 1.0)) if worn != 0.5 else 0.35 * float(rng.random() < 0.6),
        "lipstick_rgb": lips[rng.integers(len(lips))] * dark,
        "eye_shadow": worn * float(rng.uniform(0.2, 0.75)),
        "eye_shadow_rgb": shadows[rng.integers(len(shadows))] * dark,
        "mascara": float(rng.uniform(0.0, 0.25))
        if male
        else float(_limited(0.35 + 0.6 * worn + rng.normal(0, 0.1), 0, 1)),
        "rouge": worn * float(rng.uniform(0, 0.8)),
    }


def sample_identity(rng: np.random.Generator) -> Identity:
    """Draw one person."""
    male = bool(rng.random() < 0.5)
    age = float(rng.beta(1.3, 1.7))
    lean = 1.0 if male else -1.0
    skin_rgb, tone = _skin(rng)
    colour, hair_rgb = _hair_colour(rng, tone, age)
    # Half the height of a brow: .06 to .08 of the distance between the outer eye corners on most photographs.
    bushy = float(_limited(0.33 + 0.05 * lean + 0.07 * rng.normal(), 0.15, 0.56))
    lips = float(_limited(1 - 0.1 * lean + 0.25 * rng.normal() + 0.03 * (tone - 4), 0.45, 1.8))
    dark = hair_rgb if colour not in ("blond", "gray", "dyed") else hair_rgb * 0.6
    shape = _head_shape(rng, male, age)
    return Identity(
        male=male, age=age, skin_rgb=skin_rgb, tone=tone, redness=float(rng.uniform(0, 1)),
        freckles=float(max(rng.normal(-0.6, 0.8), 0)) * (tone < 4),
        wrinkles=float(_limited((age - 0.35) * 1.5 + rng.normal(0, 0.12), 0, 1)),
        bags=float(_limited(rng.normal(0.2 + 0.4 * age, 0.25), 0, 1)),
        eye_rgb=_EYE_COLOURS[rng.integers(len(_EYE_COLOURS)) if tone < 5 else pick_any(rng, (0, 2, 7))],
        eye_spacing=float(3.3 + 0.14 * rng.normal()), eye_width=float(1.53 + 0.08 * rng.normal() - 0.02 * lean),
        eye_height=float(_limited(0.87 - 0.05 * lean + 0.15 * rng.normal(), 0.55, 1.4)),
        eye_tilt=float(0.08 + 0.13 * rng.normal() - 0.03 * lean),
        brow_height=float(-1.6 + 0.14 * lean + 0.16 * rng.normal()),
        brow_arch=float(_limited(0.55 - 0.2 * lean + 0.25 * rng.normal(), 0.02, 1.2)),
        brow_tail=float(0.5 + 0.2 * rng.normal()), brow_inner=float(1.28 + 0.2 * rng.normal()),
        brow_length=float(5.05 + 0.35 * rng.normal()), brow_thickness=bushy, brow_rgb=dark.astype(np.float32),
        brow_density=float(_limited(0.78 + 0.06 * lean + 0.15 * rng.normal(), 0.35, 1)),
        mouth_width=float(2.83 + 0.1 * lean + 0.16 * rng.normal()), lip_upper=0.7 * lips, lip_lower=0.98 * lips,
        nose_label_width=float(_limited(1 + 0.6 * shape["nose_width"], 0.8, 1.3)), shape=shape, hair_colour=colour,
        hair_rgb=hair_rgb, gloss=float(rng.uniform(0.4, 1.5)), **_facial_hair(rng, male, age, dark),
        **_makeup(rng, male, skin_rgb),
    )  # fmt: skip


def sample_expression(rng: np.random.Generator) -> Expression:
    """Draw a momentary expression."""
    kinds = ("rest", "smile", "laugh", "talk", "shout", "frown")
    kind = pick(rng, kinds, (0.27, 0.14, 0.33, 0.14, 0.05, 0.07))
    smile = jaw = gap = mouth_frown = 0.0
    teeth = False
    if kind == "smile":
        smile = rng.uniform(0.5, 0.9)
    elif kind == "laugh":
        smile, gap, jaw = rng.uniform(0.7, 1.15), rng.uniform(0.6, 1.15), rng.uniform(0.05, 0.9)
        teeth = True
    elif kind == "talk":
        gap, jaw, teeth = rng.uniform(0.25, 0.6), rng.uniform(0.1, 0.8), rng.random() < 0.6
    elif kind == "shout":
        gap, jaw, teeth = 0.75, rng.uniform(1.2, 2.4), rng.random() < 0.7
    elif kind == "frown":
        mouth_frown = rng.uniform(0.4, 1)
    closed = rng.random() < 0.06
    blink = 1.0 if closed else max(rng.normal(0.02, 0.12), -0.12)
    wink = 1.0 if rng.random() < 0.01 else blink
    return Expression(
        smile=float(smile), jaw=float(jaw), gap=float(gap), brow_raise=float(_limited(rng.normal(0.05, 0.3), -0.1, 1)),
        frown=float(_limited(rng.normal(-0.1, 0.35), 0, 1)), mouth_frown=float(mouth_frown),
        pucker=float(rng.uniform(0.4, 1) if rng.random() < 0.04 else 0),
        squint=float(_limited(rng.normal(0.1 + 0.35 * smile, 0.2), 0, 1)), blink=(float(blink), float(wink)),
        gaze=(float(_limited(rng.normal(0, 0.25), -0.6, 0.6)), float(_limited(rng.normal(0, 0.12), -0.3, 0.3))),
        teeth=bool(teeth),
    )  # fmt: skip
