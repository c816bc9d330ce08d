"""Pre-training by a self-supervised objective: recipe, schedule and data are those of FaRL's own pre-training."""

from typing import Any

from torch.utils.data import Dataset
from transformers.integrations import is_deepspeed_zero3_enabled

from farl_hf.data.pretraining_samples import pretraining_collate
from farl_hf.errors import InvalidFaceInputError
from farl_hf.modeling.configuration_farl import FaRLConfig
from farl_hf.processing.image_processing_farl import FaRLImageProcessor
from farl_hf.training.pretraining_arguments import PretrainingArguments
from farl_hf.training.pretraining_trainer import PretrainingTrainer
from farl_hf.training.self_supervised_objectives import FaRLForSelfSupervision, SelfSupervisionSettings
from farl_hf.training.trainer import with_shared_batch_norms

__all__ = ["SelfSupervisedTrainer", "make_self_supervised_trainer"]


class SelfSupervisedTrainer(PretrainingTrainer):
    """A [`PretrainingTrainer`] whose log has no retrieval and no temperature: there is no text."""

    def remember(self, outputs: Any) -> None:
        """Nothing beside the loss, which the Trainer logs itself."""


def make_self_supervised_trainer(
    settings: SelfSupervisionSettings,
    config: FaRLConfig,
    image_processor: FaRLImageProcessor,
    train_dataset: Dataset,
    args: PretrainingArguments,
    attn_implementation: str | None = None,
) -> SelfSupervisedTrainer:
    """The trainer of a tower with random weights.

    Args:
        settings ([`SelfSupervisionSettings`]): Objective.
        config ([`FaRLConfig`]): Its vision tower is trained.
        image_processor ([`FaRLImageProcessor`]): Saved beside the weights.
        train_dataset (`Dataset`): Samples of a [`TwoViewTransform`].
        args ([`PretrainingArguments`]): Recipe.
        attn_implementation (`str`, *optional*): `"eager"` or `"sdpa"`.

    Raises:
        InvalidFaceInputError: SwAV under ZeRO-3.
    """
    if settings.objective == "swav" and is_deepspeed_zero3_enabled():
        raise InvalidFaceInputError(
            "SwAV brings its prototypes to unit length in every step, but under ZeRO-3 no process holds them whole; "
            "use ZeRO-1 or ZeRO-2."
        )
    model = FaRLForSelfSupervision._from_config(config, settings=settings, attn_implementation=attn_implementation)
    if args.world_size > 1 and args.device.type != "cpu":  # where PyTorch can: SimCLR, section 2.2, shares them
        model = with_shared_batch_norms(model, args)
    return SelfSupervisedTrainer(
        model=model,
        args=args,
        train_dataset=train_dataset,
        data_collator=pretraining_collate,
        processing_class=image_processor,
    )
