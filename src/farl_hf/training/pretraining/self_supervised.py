"""SimCLR and SwAV on FaRL's vision encoder, to compare FaRL's pre-training with (supplement section 5).

Losses, projection heads and prototypes come from `lightly`. Both objectives take two views of each face. The
supplement does not give all settings; the others are those of SimCLR (Chen et al. 2020) and SwAV (Caron et al. 2020).
Recipe, schedule and data are those of FaRL's own pre-training.

Shapes: B faces of this process, C width of the vision encoder, P width of the projection.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed, nn
from torch.utils.data import Dataset
from transformers.integrations import is_deepspeed_zero3_enabled
from transformers.utils import ModelOutput

from farl_hf.data.samples.pretraining_samples import pretraining_collate
from farl_hf.errors import InvalidArgumentError, MissingExtraError, check_name
from farl_hf.modeling.configuration_farl import FaRLConfig
from farl_hf.modeling.modeling_farl import FaRLPreTrainedModel, FaRLVisionModel
from farl_hf.processing.image_processing_farl import FaRLImageProcessor
from farl_hf.training.pretraining.trainer import PretrainingArguments, PretrainingModelArguments, PretrainingTrainer
from farl_hf.training.runs import attention_of
from farl_hf.training.trainer import with_shared_batch_norms

PROJECTION_SIZE = 128  # of both papers


@dataclass
class SelfSupervisionOutput(ModelOutput):
    """Output of [`FaRLForSelfSupervision`].

    Args:
        loss (`torch.FloatTensor` of shape `()`): Loss of this process's faces in float32; its mean over the processes
            is the loss of all.
    """

    loss: torch.FloatTensor | None = None


class FaRLForSelfSupervision(FaRLPreTrainedModel):
    """The vision encoder and the head of a self-supervised objective.

    Every task model can start from its checkpoints; the head of the objective is then ignored.

    Args:
        config ([`FaRLConfig`]): Configuration; only its vision encoder is built.
        settings ([`PretrainingModelArguments`]): `objective` and its settings.

    Raises:
        UnknownNameError: There is no such objective.
        MissingExtraError: `lightly` is not installed.
    """

    config_class = FaRLConfig
    input_modalities = ["image"]  # noqa: RUF012

    def __init__(self, config: FaRLConfig, settings: PretrainingModelArguments):
        super().__init__(config)
        check_name("self-supervised objective", settings.objective, SELF_SUPERVISED_OBJECTIVES)
        self.vision_model = FaRLVisionModel._from_config(config.vision_config)
        try:
            self.self_supervision = SELF_SUPERVISED_OBJECTIVES[settings.objective](
                config.vision_config.hidden_size, settings
            )
        except ImportError as error:
            raise MissingExtraError(
                'SimCLR and SwAV need the `lightly` package: pip install "farl-hf[self-supervision]".'
            ) from error
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """Return the patch convolution."""
        return self.vision_model.get_input_embeddings()

    def forward(self, pixel_values: torch.Tensor, second_pixel_values: torch.Tensor) -> SelfSupervisionOutput:
        """Compares two views of each face.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(B, 3, H, W)`): First views.
            second_pixel_values (`torch.FloatTensor` of shape `(B, 3, H, W)`): Second views of the same faces.
        """
        views = torch.cat([pixel_values, second_pixel_values])
        features = self.vision_model(pixel_values=views).pooler_output
        return SelfSupervisionOutput(loss=self.self_supervision(features))


class SimCLRObjective(nn.Module):
    """SimCLR: each view has to find the other view of its face among the views of all processes.

    Args:
        hidden_size (`int`): C.
        settings ([`PretrainingModelArguments`]): `simclr_temperature`.
    """

    def __init__(self, hidden_size: int, settings: PretrainingModelArguments):
        from lightly.loss import NTXentLoss
        from lightly.models.modules import SimCLRProjectionHead

        super().__init__()
        self.projector = SimCLRProjectionHead(hidden_size, hidden_size, PROJECTION_SIZE)
        self.contrast = NTXentLoss(settings.simclr_temperature, gather_distributed=distributed.is_available())

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Loss of features (2B, C), all first views before all second ones."""
        with torch.autocast(features.device.type, enabled=False):
            return self.contrast(*self.projector(features.float()).chunk(2))


class SwAVObjective(nn.Module):
    """SwAV: the prototypes assigned to one view, evenly over all processes, are predicted from the other view.

    Args:
        hidden_size (`int`): C.
        settings ([`PretrainingModelArguments`]): `num_prototypes` and `sinkhorn_epsilon`.
    """

    def __init__(self, hidden_size: int, settings: PretrainingModelArguments):
        from lightly.loss import SwaVLoss
        from lightly.models.modules import SwaVProjectionHead, SwaVPrototypes

        super().__init__()
        self.projector = SwaVProjectionHead(hidden_size, hidden_size, PROJECTION_SIZE)
        self.prototypes = SwaVPrototypes(PROJECTION_SIZE, settings.num_prototypes)
        self.prototypes.heads[0].register_parameter("bias", None)  # as in SwAV's own code: directions, no offsets
        # Sinkhorn's three rounds and the temperature are lightly's defaults, which are the paper's.
        self.swapped_prediction = SwaVLoss(
            sinkhorn_epsilon=settings.sinkhorn_epsilon, sinkhorn_gather_distributed=distributed.is_available()
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Loss of features (2B, C), all first views before all second ones."""
        with torch.autocast(features.device.type, enabled=False):
            directions = nn.functional.normalize(self.projector(features.float()), dim=1)
            if self.training:
                self.prototypes.normalize()
            similarities = self.prototypes(directions).chunk(2)
            return self.swapped_prediction(list(similarities), []).squeeze(0)


SELF_SUPERVISED_OBJECTIVES: dict[str, Any] = {"simclr": SimCLRObjective, "swav": SwAVObjective}


class SelfSupervisedTrainer(PretrainingTrainer):
    """A [`PretrainingTrainer`] whose log has no retrieval and no temperature, because there are no texts."""

    def remember(self, outputs: Any) -> None:
        """Does nothing; the Trainer itself logs the loss."""


def make_self_supervised_trainer(
    settings: PretrainingModelArguments,
    config: FaRLConfig,
    image_processor: FaRLImageProcessor,
    train_dataset: Dataset,
    args: PretrainingArguments,
) -> SelfSupervisedTrainer:
    """The trainer of a vision encoder with random weights.

    Args:
        settings ([`PretrainingModelArguments`]): Objective.
        config ([`FaRLConfig`]): Its vision encoder is trained.
        image_processor ([`FaRLImageProcessor`]): Saved beside the weights.
        train_dataset (`Dataset`): Samples of a [`TwoViewTransform`].
        args ([`PretrainingArguments`]): Recipe.

    Raises:
        InvalidArgumentError: SwAV under ZeRO-3.
    """
    if settings.objective == "swav" and is_deepspeed_zero3_enabled():
        raise InvalidArgumentError(
            "SwAV scales its prototypes to unit length in every step, but under ZeRO-3 no process holds all of them; "
            "use ZeRO-1 or ZeRO-2."
        )
    attention = attention_of(settings, args)
    model = FaRLForSelfSupervision._from_config(config, settings=settings, attn_implementation=attention)
    if args.world_size > 1 and args.device.type != "cpu":  # as SimCLR, section 2.2; not on CPUs
        model = with_shared_batch_norms(model, args)
    return SelfSupervisedTrainer(
        model=model,
        args=args,
        train_dataset=train_dataset,
        data_collator=pretraining_collate,
        processing_class=image_processor,
    )
