"""Writes a checkpoint as one graph, with the exporters of Transformers; runs an ONNX graph in place of a model.

The graph holds the network, for any number of faces. Alignment, warp and the mapping back to the photo stay in the
image processor: they need one matrix per face and photos of any size, and cost little beside the network. The graph of
the detector takes heights and widths that are multiples of 32; the exported image processor pads photos to them.
"""

import io
import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.export import Dim
from transformers import AutoConfig, AutoImageProcessor, PretrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput

from farl_hf import modeling
from farl_hf.checkpoints.checked_loading import load_image_processor, read_config
from farl_hf.conversion.checkpoint_folders import check_output_folder, complete_folder
from farl_hf.conversion.key_rules import name_some
from farl_hf.errors import ConversionError, MissingExtraError, NotACheckpointError, check_name
from farl_hf.whole_files import remove_left_over

EXPORT_FORMATS = {"onnx": "model.onnx", "torch-export": "model.pt2"}
_ONNX_GRAPH = EXPORT_FORMATS["onnx"]
LARGEST_DIFFERENCE = 1e-4  # of an output, relative to its largest value
_DETECTOR_STRIDE = 32
# Class of a checkpoint -> the class that is exported.
_EXPORTED = {
    name: name
    for name in (
        *("FaRLForFaceParsing", "FaRLForLandmarks", "FaRLForAttributes"),
        *("RetinaFaceForFaceDetection", "FaRLModel"),
    )
} | {"FaRLForPreTraining": "FaRLModel"}
_MISFITS = ("missing_keys", "unexpected_keys", "mismatched_keys")
_COPIED = ("preprocessor_config.json", "processor_config.json", "tokenizer*", "vocab*", "merges*", "special_tokens*")
# Two in the sample, because the exporter takes a size of one for a constant; another number in the check.
_SAMPLE_BATCH, _CHECKED_BATCH = 2, 3


@dataclass(frozen=True)
class ExportReport:
    """The result of an export.

    Args:
        output (`Path`): The folder.
        architecture (`str`): Class of the model.
        graph (`Path`): The file of the graph.
        differences (`Mapping[str, float]`): By output, the largest difference between graph and model, relative to the
            output's largest value, on inputs of another batch size than the graph was made with.
    """

    output: Path
    architecture: str
    graph: Path
    differences: Mapping[str, float]


def export_checkpoint(
    folder: str | Path, output: str | Path, export_format: str = "onnx", overwrite: bool = False
) -> ExportReport:
    """Write a checkpoint as a graph. The folder appears only if graph and model agree.

    Args:
        folder (`str` or `Path`): A checkpoint folder.
        output (`str` or `Path`): Folder to create: the graph, `config.json`, and the files of the processor.
        export_format (`str`): One of `EXPORT_FORMATS`.
        overwrite (`bool`): Replace an existing export.

    Raises:
        UnknownNameError: There is no such format.
        MissingExtraError: The packages that write and run the format are not installed.
        NotACheckpointError: The folder holds no model of this library.
        ConversionError: `output` cannot be written, or the graph answers differently.
    """
    check_name("format", export_format, EXPORT_FORMATS)
    folder, output = Path(folder), Path(output)
    remove_left_over(output)
    check_output_folder(output, overwrite, folder)
    if (
        output.is_dir()
        and any(output.iterdir())
        and not any((output / graph).is_file() for graph in EXPORT_FORMATS.values())
    ):
        raise ConversionError(f"The folder {output} holds something else than an export; it is left alone.")
    exporter, settings_class = _exporter(export_format)
    model = _load_model(folder)
    load_image_processor(AutoImageProcessor, folder)  # tracing takes minutes, and a graph without it is of no use
    sample, dynamic_shapes = _inputs(model, folder, _SAMPLE_BATCH), _dynamic_shapes(model)
    settings = settings_class(dynamic=True, dynamic_shapes=dynamic_shapes)
    exported = exporter.export(model, sample, config=settings)
    differences = _differences(model, exported, _inputs(model, folder, _CHECKED_BATCH))
    with complete_folder(output, overwrite) as partial:
        if export_format == "torch-export":
            _require_room(exported, partial)
        exported.save_pretrained(partial)
        _copy_processor(folder, partial)
        if model.config.model_type == "retinaface":
            _pad_for_graph(partial)
    return ExportReport(output, type(model).__name__, output / EXPORT_FORMATS[export_format], differences)


def _require_room(exported: Any, folder: Path) -> None:
    """Writes the graphs once from memory; PyTorch's own writer ends the whole process where the disk is full.

    Raises:
        OSError: They cannot be written.
    """
    for component in exported.components.values():
        content = io.BytesIO()
        torch.export.save(component.program, content)
        (folder / "room").write_bytes(content.getvalue())  # no `getbuffer()`, see `write_picture`
        (folder / "room").unlink()


def _exporter(export_format: str) -> tuple[Any, type]:
    try:
        if export_format == "onnx":
            import onnx  # noqa: F401
            import onnxruntime  # noqa: F401
            import onnxscript  # noqa: F401
            from transformers.exporters import OnnxConfig, OnnxExporter

            return OnnxExporter(), OnnxConfig
        from transformers.exporters import DynamoConfig, DynamoExporter

        return DynamoExporter(), DynamoConfig
    except ImportError as error:
        raise MissingExtraError(
            f'Exporting needs packages that are missing ({error}): pip install "farl-hf[export]" "transformers>=5.23".'
        ) from error


def _load_model(folder: Path) -> PreTrainedModel:
    """The model of a folder, ready for inference."""
    try:
        names = AutoConfig.from_pretrained(folder).architectures or []
        if not names or names[0] not in _EXPORTED:
            raise NotACheckpointError(
                f"{folder} holds {', '.join(names) or 'no model'}; expected one of {', '.join(_EXPORTED)}."
            )
        model_class = getattr(modeling, _EXPORTED[names[0]])
        model, parts = model_class.from_pretrained(folder, dtype="float32", output_loading_info=True)
        wrong = sorted(str(one) for kind in _MISFITS for one in parts[kind])
        if wrong:
            raise NotACheckpointError(f"{folder} is no whole checkpoint; tensors that do not fit: {name_some(wrong)}.")
        return model.eval()
    except Exception as error:  # damaged settings and weights raise anything
        if isinstance(error, NotACheckpointError):
            raise
        first_line = str(error).strip().partition("\n")[0] or type(error).__name__
        raise NotACheckpointError(f"{folder} cannot be loaded as a checkpoint: {first_line}") from error


def _inputs(model: PreTrainedModel, folder: Path, batch: int) -> dict[str, torch.Tensor]:
    """Inputs as the processor makes them; as many texts as pictures, and one more."""
    if model.config.model_type == "retinaface":
        height, width = _DETECTOR_STRIDE * batch, _DETECTOR_STRIDE * (batch + 1)  # another batch, another size
        return {"pixel_values": torch.randn(batch, 3, height, width)}
    size = load_image_processor(AutoImageProcessor, folder).size
    inputs = {"pixel_values": torch.randn(batch, 3, size["height"], size["width"])}
    if isinstance(model, modeling.FaRLModel):
        text = model.config.text_config
        input_ids = torch.randint(1, text.eos_token_id, (batch + 1, text.max_position_embeddings))
        input_ids[:, -1] = text.eos_token_id
        inputs = {"input_ids": input_ids} | inputs
    return inputs


def _dynamic_shapes(model: PreTrainedModel) -> dict[str, dict[int, Any]]:
    if model.config.model_type == "retinaface":
        rows, columns = _DETECTOR_STRIDE * Dim("rows"), _DETECTOR_STRIDE * Dim("columns")
        return {"pixel_values": {0: Dim("batch"), 2: rows, 3: columns}}
    shapes: dict[str, dict[int, Any]] = {"pixel_values": {0: Dim("batch")}}
    return {"input_ids": {0: Dim("texts")}} | shapes if isinstance(model, modeling.FaRLModel) else shapes


def _differences(model: PreTrainedModel, exported: Any, inputs: dict[str, torch.Tensor]) -> dict[str, float]:
    """Relative difference of each output.

    Raises:
        ConversionError: If one is larger than `LARGEST_DIFFERENCE`.
    """
    with torch.no_grad():
        expected = model(**inputs)
    found = exported(**inputs)
    differences = {
        name: float((torch.as_tensor(found[name]) - value).abs().max() / value.abs().max().clamp(min=1e-12))
        for name, value in expected.items()
        if isinstance(value, torch.Tensor) and name in found
    }
    wrong = {name: value for name, value in differences.items() if not value <= LARGEST_DIFFERENCE}
    if wrong or not differences:
        raise ConversionError(
            f"The graph answers differently from the model: {wrong or 'no output of its'} (relative; at most "
            f"{LARGEST_DIFFERENCE:g} is accepted). Nothing was written; try other versions of torch and onnxscript."
        )
    return differences


def _copy_processor(folder: Path, target: Path) -> None:
    for pattern in _COPIED:
        for path in Path(folder).glob(pattern):
            shutil.copyfile(path, target / path.name)


def _pad_for_graph(folder: Path) -> None:
    """Make the image processor of an exported detector pad photos to the sizes that its graph takes."""
    path = folder / "preprocessor_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    divisor = math.lcm(settings.get("pad_size_divisor", _DETECTOR_STRIDE), _DETECTOR_STRIDE)
    path.write_text(json.dumps(settings | {"pad_size_divisor": divisor}, indent=2) + "\n", encoding="utf-8")


class OnnxModel(PreTrainedModel):
    """Runs an exported graph on the CPU; inference only.

    Args:
        config (`PretrainedConfig`): Configuration of the exported model.
        session (`onnxruntime.InferenceSession`): Its graph.
    """

    config_class = PretrainedConfig
    main_input_name = "pixel_values"

    def __init__(self, config: PretrainedConfig, session: Any) -> None:
        super().__init__(config)
        self.session = session
        self.output_names = [output.name for output in session.get_outputs()]
        # From a parameter, a pipeline learns the type and the device of the model.
        self.place = torch.nn.Parameter(torch.zeros(1), requires_grad=False)

    def forward(self, pixel_values: torch.Tensor, **_: Any) -> ModelOutput:
        """Return the outputs of the exported model by name.

        Args:
            pixel_values (`torch.Tensor` of shape `(B, 3, H, W)`): Any batch; sizes as the graph was made for.
        """
        inputs = {"pixel_values": pixel_values.float().contiguous().cpu().numpy()}
        outputs = self.session.run(self.output_names, inputs)
        return ModelOutput(
            {name: torch.from_numpy(value) for name, value in zip(self.output_names, outputs, strict=True)}
        )


def load_onnx_model(folder: str | Path) -> OnnxModel:
    """The graph of an exported checkpoint, with as many threads as PyTorch uses.

    Args:
        folder (`str` or `Path`): Written by `export_checkpoint` in the format "onnx".

    Raises:
        MissingExtraError: ONNX Runtime is not installed.
        NotACheckpointError: The folder holds no graph, or a damaged one.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError(
            'Running graphs needs the `onnxruntime` package: pip install "farl-hf[export]".'
        ) from error
    folder = Path(folder)
    if not (folder / _ONNX_GRAPH).is_file():
        raise NotACheckpointError(
            f"{folder} holds no {_ONNX_GRAPH}; export its checkpoint first: farl-hf export CHECKPOINT --output FOLDER."
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(folder / _ONNX_GRAPH, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has its own, of many kinds
        raise NotACheckpointError(f"{folder / _ONNX_GRAPH} cannot be loaded: {error}") from error
    return OnnxModel(read_config(folder), session)
