"""Training samples per second of one core: augmentation and warp at 448 pixels, beside the official OpenCV code.

    python -m benchmarks.augmentation_speed [--samples N] [--default-allocator] [--json FILE]

Our side is [`FaceSamples`] with the official recipes for parsing (LaPa) and landmarks (300W). The official side is
rewritten here from FacePerceiver/FaRL (`farl/experiments`) and py-blueprint (`blueprint/ml/augmenters`): a canvas of
512 pixels, which the network shrinks later; maps on the integer pixel grid; `cv2.remap` of photo, label map and
validity mask; the same random changes. Where the official code is not known, the faster variant is used: maps in
float32, resampling of bytes. Both sides are timed with decoded photos, and with JPEG and PNG decoding.

The figures are processor time of one thread, for OpenCV and PyTorch alike. The sides take turns sample by sample, so
that other load on the machine affects both. Printed are medians of rounds, and the least and largest ratio of a round.
glibc may return freed pages to the system, depending on what lies at the end of its heap. This costs up to 4 ms per
sample on either side for the whole life of a process. So glibc is told to keep them; `--default-allocator` prevents
this.

The photo is scikit-image's astronaut, 512 x 512 pixels with eyes 86 pixels apart. First, both sides cut the same crop
without random changes and must agree.
"""

import argparse
import ctypes
import json
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import skimage.data
import torch

from benchmarks.pretraining_data import ASTRONAUT_POINTS
from farl_hf import FaRLImageProcessor
from farl_hf.data.samples.face_samples import FaceSamples

CANVAS, CROP = 512, 448
ROUNDS = 9
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
WARP_FACTOR, BOX_SCALE = 0.8, 0.8  # of LaPa, of 300W
MEAN, DEVIATION = np.float32([0.48145466, 0.4578275, 0.40821073]), np.float32([0.26862954, 0.26130258, 0.27577711])
TEMPLATE = np.float64([[196, 226], [316, 226], [256, 286], [220, 360.4], [292, 360.4]])  # of the canvas
BOX_XYXY = np.float64([160, 60, 360, 340])


def make_row(encoded: bool) -> dict:
    """A photo with label map, five points, box and 68 landmarks; pictures as arrays, or as JPEG and PNG."""
    photo = cv2.resize(skimage.data.astronaut()[:256, 100:356], (512, 512), interpolation=cv2.INTER_CUBIC)
    points = (ASTRONAUT_POINTS - [100, 0]) * 2
    label_map = np.zeros((512, 512), np.uint8)
    for label, axes in enumerate([(130, 170), (100, 130), (60, 80)], 1):
        cv2.ellipse(label_map, tuple(int(part) for part in points[2]), axes, 0, 0, 360, label, -1)
    landmarks = np.random.default_rng(0).uniform(BOX_XYXY[:2], BOX_XYXY[2:], (68, 2))
    pictures = {"image": photo, "label_map": label_map}
    if encoded:
        jpeg = cv2.imencode(".jpg", photo[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
        png = cv2.imencode(".png", label_map)[1]
        pictures = {"image": {"bytes": jpeg.tobytes()}, "label_map": {"bytes": png.tobytes()}}
    return pictures | {"points5_xy": points[None], "boxes_xyxy": BOX_XYXY[None], "landmarks_xy": landmarks[None]}


# ---------------------------------------------------------------- farl_hf


def our_samples(task: str, row: dict, size: int = CROP, recipe: str | None = None) -> FaceSamples:
    """Samples as the training recipes `lapa_448_finetuned` and `w300_448_finetuned` make them."""
    side = {"height": size, "width": size}
    if task == "parsing":
        processor = FaRLImageProcessor(size=side, warp_factor=WARP_FACTOR, pixel_grid="integer")
        return FaceSamples([row], processor, task, recipe or "lapa_parsing")
    processor = FaRLImageProcessor(size=side, box_scale=BOX_SCALE)
    return FaceSamples([row], processor, task, recipe or "w300_landmarks", alignment="box")


# ---------------------------------------------------------------- the official path


def decoded_photo(picture: np.ndarray | dict) -> np.ndarray:
    """Photo in RGB."""
    if not isinstance(picture, dict):
        return picture
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(picture["bytes"], np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def decoded_map(picture: np.ndarray | dict) -> np.ndarray:
    """Label map."""
    if not isinstance(picture, dict):
        return picture
    return cv2.imdecode(np.frombuffer(picture["bytes"], np.uint8), cv2.IMREAD_UNCHANGED)


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Least-squares similarity (3, 3), complex numbers for points."""
    source, target = source @ [1, 1j], target @ [1, 1j]
    from_centre, to_centre = source - source.mean(), target - target.mean()
    turn = np.vdot(from_centre, to_centre) / np.vdot(from_centre, from_centre).real
    shift = target.mean() - turn * source.mean()
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag], [0, 0, 1]])


def random_motion(rng: np.random.Generator, shift: float, angle_rad: float, scale: float) -> np.ndarray:
    """Turn, scale and shift of the canvas about its centre (3, 3)."""
    centre = CANVAS / 2
    cosine, sine = scale * math.cos(angle_rad), scale * math.sin(angle_rad)
    x, y = rng.uniform(-shift * CANVAS, shift * CANVAS, 2) + centre
    about = [x - cosine * centre + sine * centre, y - sine * centre - cosine * centre]
    return np.array([[cosine, -sine, about[0]], [sine, cosine, about[1]], [0, 0, 1]])


def sampling_maps(canvas_from_photo: np.ndarray, warp_factor: float) -> tuple[np.ndarray, np.ndarray]:
    """Where in the photo each pixel of the canvas looks, x and y, counted on the integer grid."""
    steps = np.arange(CANVAS, dtype=np.float32)
    if warp_factor:
        fractions = steps / CANVAS * 2 - 1
        core = np.clip(fractions, warp_factor - 1, 1 - warp_factor)
        beyond = np.arctanh(np.clip((fractions - core) / warp_factor, -0.999, 0.999))
        steps = (core + warp_factor * beyond + 1) * np.float32(CANVAS / 2)
    (a, b, c), (d, e, f) = np.linalg.inv(canvas_from_photo)[:2].astype(np.float32)
    return a * steps + (b * steps + c)[:, None], d * steps + (e * steps + f)[:, None]


def official_colors(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Grey, gamma and box blur of an image in [0, 1]."""
    if rng.random() < 0.1:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    gamma = rng.integers(3)
    image = np.sqrt(image) if gamma == 0 else np.square(image) if gamma == 1 else image
    kernel = int(rng.uniform(0, 0.01) * CANVAS)
    return cv2.blur(image, (kernel, kernel)) if kernel > 1 else image


def official_noise_and_occlusion(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Half of the images mixed with uniform noise; a black rectangle in all."""
    if rng.random() < 0.5:
        weight = np.float32(rng.uniform(0, 0.5))
        image = (1 - weight) * image + weight * rng.random(image.shape, dtype=np.float32)
    ratio = rng.uniform(0.2, 0.8)
    high, wide = int(CANVAS / 2 * ratio), int(CANVAS / 2 * (ratio + rng.uniform(-0.2, 0.2)))
    top, left = (int(rng.uniform(0, CANVAS)) - extent // 2 for extent in (high, wide))
    image[max(top, 0) : max(top + high, 0), max(left, 0) : max(left + wide, 0)] = 0
    return image


def network_input(image: np.ndarray) -> torch.Tensor:
    """Normalised, channels first."""
    return torch.from_numpy(((image - MEAN) / DEVIATION).transpose(2, 0, 1).copy())


def official_parsing_sample(row: dict, rng: np.random.Generator | None) -> dict[str, torch.Tensor]:
    """One sample of the parsing training; without a source of chance, without random changes."""
    photo, labels = decoded_photo(row["image"]), decoded_map(row["label_map"])
    # It counts pixels from 0, our rows from 0.5.
    matrix = similarity(row["points5_xy"][0] - 0.5, TEMPLATE / 256 * (CANVAS - 1) / 2)
    if rng is not None:
        matrix = random_motion(rng, 0.01, rng.normal(0, 0.314), 1 + rng.normal(0, 0.1)) @ matrix
    maps = sampling_maps(matrix, WARP_FACTOR)
    image = cv2.remap(photo, *maps, cv2.INTER_LINEAR).astype(np.float32) / 255
    mask = cv2.remap(np.ones_like(labels), *maps, cv2.INTER_NEAREST)
    labels = cv2.remap(labels, *maps, cv2.INTER_NEAREST)
    image = image if rng is None else official_colors(image, rng)
    labels, mask = torch.from_numpy(labels).long(), torch.from_numpy(mask)
    return {"pixel_values": network_input(image), "labels": labels, "mask": mask}


def official_landmarks_sample(row: dict, rng: np.random.Generator) -> dict[str, torch.Tensor]:
    """One sample of the landmark training."""
    photo, box = decoded_photo(row["image"]), row["boxes_xyxy"][0]
    half, centre = (box[2:] - box[:2]).max() / 2 / BOX_SCALE, (box[:2] + box[2:]) / 2
    scale = CANVAS / (2 * half)
    x, y = (half - centre) * scale - 0.5
    motion = random_motion(rng, 0.05, rng.uniform(-0.174, 0.174), 1 + rng.uniform(-0.1, 0.1) / BOX_SCALE)
    matrix = motion @ [[scale, 0, x], [0, scale, y], [0, 0, 1]]
    image = cv2.remap(photo, *sampling_maps(matrix, 0), cv2.INTER_LINEAR).astype(np.float32) / 255
    image = official_noise_and_occlusion(official_colors(image, rng), rng)
    points = np.pad(row["landmarks_xy"][0] - 0.5, ((0, 0), (0, 1)), constant_values=1) @ matrix[:2].T
    landmarks = torch.from_numpy(((points + 0.5) / CANVAS).astype(np.float32))
    return {"pixel_values": network_input(image), "labels": landmarks}


OFFICIAL_SAMPLES = {"parsing": official_parsing_sample, "landmarks": official_landmarks_sample}

# ---------------------------------------------------------------- comparison


def check_agreement() -> float:
    """Mean difference of pixels in [0, 1] on one canvas without random changes; raises beyond a thousandth."""
    row = make_row(encoded=False)
    ours = our_samples("parsing", row, CANVAS, "none")[0]
    official = official_parsing_sample(row, None)
    difference = (ours["pixel_values"] - official["pixel_values"]).abs().mean().item() * float(DEVIATION.mean())
    other_labels = (ours["labels"] != official["labels"]).float().mean().item()
    if difference > 1e-3 or other_labels > 1e-3:
        raise SystemExit(
            f"The crops are not the same: pixels differ by {difference:.4f}, {other_labels:.2%} of labels."
        )
    return difference


def keep_freed_memory() -> None:
    """Lets glibc's allocator give nothing back."""
    libc = ctypes.CDLL(None)
    if not (libc.mallopt(M_MMAP_THRESHOLD, 2**25) and libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)):
        raise SystemExit("The allocator takes no settings; --default-allocator measures without.")


def rates(sides: dict[str, Callable[[int], object]], count: int) -> dict[str, float]:
    """Calls per second of processor time, of each side; they take turns, every second time the other way round."""
    seconds = dict.fromkeys(sides, 0.0)
    for index in range(count):
        for name in sides if index % 2 else reversed(sides):
            start = time.process_time()
            sides[name](index)
            seconds[name] += time.process_time() - start
    return {name: count / spent for name, spent in seconds.items()}


def compare(task: str, encoded: bool, count: int) -> dict[str, float]:
    """Medians over rounds, and all ratios in order; every sample is another draw."""
    row = make_row(encoded)
    samples, official = our_samples(task, row), OFFICIAL_SAMPLES[task]

    def ours(index: int) -> dict[str, torch.Tensor]:
        samples.set_epoch(index)
        return samples[0]

    sides = {"farl_hf": ours, "official": lambda index: official(row, np.random.default_rng((0, index, 0)))}
    rates(sides, 5)
    rounds = [rates(sides, count) for _ in range(ROUNDS)]
    ratios = sorted(one["farl_hf"] / one["official"] for one in rounds)
    medians = {name: statistics.median(one[name] for one in rounds) for name in sides}
    return medians | {"ratio": statistics.median(ratios), "ratios": ratios}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=60, help="Samples per round.")
    parser.add_argument("--json", type=Path, help="Also write the figures there.")
    parser.add_argument("--default-allocator", action="store_true", help="Leave the allocator alone.")
    args = parser.parse_args()
    if not args.default_allocator:
        keep_freed_memory()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    print(f"Without random changes pixels differ by {check_agreement():.1e} of [0, 1] in the mean.\n")
    print("| samples per second and core | farl_hf | official path | ratio | of rounds |\n|---|---:|---:|---:|---:|")
    figures = {}
    for task in OFFICIAL_SAMPLES:
        for encoded in (False, True):
            name = f"{task}, {'with decoding' if encoded else 'augment and warp'}"
            figure = figures[name] = compare(task, encoded, args.samples)
            least, largest = figure["ratios"][0], figure["ratios"][-1]
            print(
                f"| {name} | {figure['farl_hf']:.1f} | {figure['official']:.1f} | {figure['ratio']:.2f} |"
                f" {least:.2f} to {largest:.2f} |"
            )
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
