"""Small videos for tests, written with PyAV: a photographed face that moves over a plain background."""

from fractions import Fraction

import av
import numpy as np
from PIL import Image
from skimage import data

FACE = np.asarray(Image.fromarray(data.astronaut()).crop((150, 20, 310, 200)).resize((80, 90)))


def moved_face(x, y, size_wh=(160, 120)):
    """A frame (H, W, 3) with the face's corner at (x, y)."""
    frame = np.full((size_wh[1], size_wh[0], 3), 90, np.uint8)
    frame[y : y + 90, max(x, 0) : x + 80] = FACE[: frame.shape[0] - y, max(-x, 0) : frame.shape[1] - x]
    return frame


def write_video(path, frames, times_s=None, rotation=0, sound=None, hflip=False, vflip=False, pixel_ratio=None):
    """Encode frames at 25 a second or at given times; `sound` is an audio codec, `pixel_ratio` width by height.

    The display matrix turns the frames counter-clockwise by `rotation` degrees, and then mirrors them.
    """
    time_base = Fraction(1, 25 if str(path).endswith("avi") else 1000)  # AVI counts in frames
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25, options={"qmin": "1", "qmax": "3"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.codec_context.time_base = "yuv420p", time_base
        if pixel_ratio:
            stream.codec_context.sample_aspect_ratio = pixel_ratio
        if rotation or hflip or vflip:
            stream.set_display_rotation(rotation, hflip=hflip, vflip=vflip)
        hearing = container.add_stream(sound, rate=16000, layout="mono") if sound else None
        for index, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels)
            frame.pts = round((index / 25 if times_s is None else times_s[index]) / time_base)
            frame.time_base = time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if hearing:
            _write_tone(container, hearing, len(frames) / 25)
    return path


def _write_tone(container, stream, seconds):
    samples = (8000 * np.sin(np.arange(int(16000 * seconds)) * 0.2)).astype(np.int16)
    for start in range(0, len(samples) - 1024, 1024):
        frame = av.AudioFrame.from_ndarray(samples[None, start : start + 1024], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 16000, start, Fraction(1, 16000)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def packets(path, kind="audio"):
    """The bytes of a stream's packets."""
    with av.open(str(path)) as container:
        stream = next(stream for stream in container.streams if stream.type == kind)
        return [bytes(packet) for packet in container.demux(stream) if packet.size]


def person_filmed_by_hand(num_frames=42, size_wh=(320, 240)):
    """Frames of one photographed person: the camera comes nearer, sways and turns, and the light goes up and down."""
    photo = Image.fromarray(data.astronaut())
    centre = np.array([226.0, 125.0])  # of the face
    width, height = size_wh
    for index in range(num_frames):
        time = index / num_frames
        scale = 0.5 + 2.2 * time  # the face grows from 45 to 250 pixels
        angle = 0.25 * np.sin(2 * np.pi * time)
        shift = np.array([(0.5 + 0.12 * np.sin(5 * time)) * width, (0.5 + 0.06 * np.cos(7 * time)) * height])
        inverse = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) / scale
        offset = centre - inverse @ shift
        matrix = (*inverse[0], offset[0], *inverse[1], offset[1])
        frame = photo.transform(size_wh, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)
        light = 0.8 + 0.25 * np.sin(9 * time)
        yield np.clip(np.asarray(frame, float) * light, 0, 255).astype(np.uint8)
