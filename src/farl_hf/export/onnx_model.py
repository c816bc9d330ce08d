"""A graph in ONNX Runtime that a pipeline takes for a model."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, PretrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput

from farl_hf.errors import MissingExtraError, NotACheckpointError

_GRAPH = "model.onnx"


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


def load_onnx_model(folder: Path) -> OnnxModel:
    """The graph of an exported checkpoint, with as many threads as PyTorch uses.

    Args:
        folder (`Path`): Written by `export_checkpoint` in the format "onnx".

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
    if not (folder / _GRAPH).is_file():
        raise NotACheckpointError(
            f"{folder} holds no {_GRAPH}; export its checkpoint first: farl-hf export CHECKPOINT --output FOLDER."
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(folder / _GRAPH, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has its own, of many kinds
        raise NotACheckpointError(f"{folder / _GRAPH} cannot be loaded: {error}") from error
    return OnnxModel(AutoConfig.from_pretrained(folder), session)
