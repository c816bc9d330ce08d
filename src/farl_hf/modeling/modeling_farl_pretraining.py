"""Pre-training of FaRL: image-text contrast on clean images, masked image modelling on masked copies of them.

Source: FacePerceiver/FaRL `farl/network/farl/model.py` (MIT), `VisualTransformer.forward_mim`, lines 365-404: clean
and masked images go through the shared vision encoder in one batch; the masked ones then through a few blocks of their
own and a classifier of visual tokens. The code of the objective was not published;
where the supplement (section 6) is silent, it is written from recollection of the paper.

Letters in shapes: B pairs, T tokens, C width, P projection size, M masked patches of a batch, V visual tokens.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed, nn
from transformers import initialization as init
from transformers.modeling_outputs import MaskedLMOutput
from transformers.utils import ModelOutput
from transformers.utils.generic import can_return_tuple

from .configuration_farl import FaRLConfig
from .modeling_farl import (
    FORMER_PARTS,
    HEAD_PARTS,
    JOINT_PARTS,
    PRETRAINING_PARTS,
    TEXT_PARTS,
    FaRLEncoder,
    FaRLModel,
    FaRLPreTrainedModel,
    FaRLVisionModel,
    contrastive_loss,
    process_count,
    scaled_similarities,
    unit_length,
)
from .pretrained_model_farl import encoder_records, warn_unrecorded

# open_clip scales logits by 100 at most (3.3.0, open_clip_train/train.py, lines 187-189), by its own word as the CLIP
# paper does; FaRL's own bound was not published.
LARGEST_LOG_SCALE = math.log(100)


@dataclass
class FaRLForPreTrainingOutput(ModelOutput):
    """Output of [`FaRLForPreTraining`]; every scalar is float32.

    Args:
        loss (`torch.FloatTensor` of shape `()`, *optional*): `itc_loss + mim_weight * mim_loss`, with
            `return_loss=True`.
        itc_loss (`torch.FloatTensor` of shape `()`, *optional*): Symmetric contrastive loss of this process's pairs
            among those of all processes, with `return_loss=True`.
        mim_loss (`torch.FloatTensor` of shape `()`, *optional*): Loss of masked image modelling, with `mim_labels`.
        logit_scale (`torch.FloatTensor` of shape `(1,)`): Bounded factor of the similarities.
        image_embeds (`torch.FloatTensor` of shape `(B, P)`): Unit-length features of the clean images, float32.
        text_embeds (`torch.FloatTensor` of shape `(B, P)`): Unit-length text features, float32.
        logits_per_image (`torch.FloatTensor` of shape `(B, B)`): Scaled similarities of this process's pairs.
        logits_per_text (`torch.FloatTensor` of shape `(B, B)`): Their transpose.
        mim_logits (`torch.FloatTensor` of shape `(M, V)`, *optional*): Scores of the masked patches, in row-major
            order of `bool_masked_pos`.
    """

    loss: torch.Tensor | None = None
    itc_loss: torch.Tensor | None = None
    mim_loss: torch.Tensor | None = None
    logit_scale: torch.Tensor | None = None
    image_embeds: torch.Tensor | None = None
    text_embeds: torch.Tensor | None = None
    logits_per_image: torch.Tensor | None = None
    logits_per_text: torch.Tensor | None = None
    mim_logits: torch.Tensor | None = None


class MaskedImageBranch(FaRLPreTrainedModel):
    """The branch of masked image modelling: what follows the vision encoder on masked copies.

    Mixed into a model with a `vision_model`. Its parts have the names of converted checkpoints: `mask_token`,
    `mim_encoder`, `mim_layer_norm`, `mim_head`.
    """

    def build_masked_branch(self, config: FaRLConfig) -> None:
        """Create the parts."""
        vision = config.vision_config
        self.mask_token = nn.Parameter(torch.zeros(vision.hidden_size))
        self.mim_encoder = FaRLEncoder(vision, drop_path_rates=[0.0] * config.mim_num_hidden_layers)
        self.mim_layer_norm = nn.LayerNorm(vision.hidden_size, eps=vision.layer_norm_eps)
        self.mim_head = nn.Linear(vision.hidden_size, config.mim_vocab_size)

    def post_init(self) -> None:
        """Finish the construction; loading reports weights of the branch that the model lacks."""
        super().post_init()
        if hasattr(self, "mim_head"):
            # The vision encoder ignores these weights, and Transformers collects the patterns of all parts.
            ignored = set(self._keys_to_ignore_on_load_unexpected or ())
            self._keys_to_ignore_on_load_unexpected = ignored - set(PRETRAINING_PARTS)

    def init_masked_branch(self, factor: float) -> None:
        """The mask token starts like the class token, normal with width^-0.5; the other parts as in the encoder."""
        init.normal_(self.mask_token, std=self.config.vision_config.hidden_size**-0.5 * factor)

    def checked_mask(self, bool_masked_pos: torch.Tensor | None, pixel_values: torch.Tensor) -> torch.Tensor:
        """Return the mask as (B, patches) of bool; a ValueError says what is wrong with it."""
        patch = self.config.vision_config.patch_size
        height, width = pixel_values.shape[-2:]
        expected = (pixel_values.shape[0], (height // patch) * (width // patch))
        if bool_masked_pos is None or tuple(bool_masked_pos.shape) != expected:
            came = "missing" if bool_masked_pos is None else f"of shape {tuple(bool_masked_pos.shape)}"
            raise ValueError(
                f"bool_masked_pos is {came}, expected {expected}: one row per image, one entry per patch of {patch} x "
                f"{patch} pixels, row by row."
            )
        return bool_masked_pos.to(pixel_values.device, torch.bool)

    def masked_logits(self, hidden_BTC: torch.Tensor, bool_masked_pos: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        """Return scores (M, V) of masked patches, given the vision encoder's output on masked images, (B, T, C)."""
        hidden_BTC, _ = self.mim_encoder(hidden_BTC, **kwargs)
        return self.mim_head(self.mim_layer_norm(hidden_BTC[:, 1:][bool_masked_pos]))


def masked_token_loss(logits: torch.Tensor, labels: torch.Tensor, bool_masked_pos: torch.Tensor) -> torch.Tensor:
    """Cross-entropy over visual tokens, averaged over the masked patches of each image and then over the images.

    Images differ a little in how many patches are masked. Averaging per image keeps the loss of a batch the same
    however it is split over processes and accumulated passes; an image without masked patches counts as 0.

    Args:
        logits (`torch.Tensor` of shape `(M, V)`): Scores of the M masked patches, in row-major order.
        labels (`torch.LongTensor` of shape `(B, patches)`): Visual token of every patch; -100 is ignored.
        bool_masked_pos (`torch.BoolTensor` of shape `(B, patches)`): Which patches are masked.

    Raises:
        ValueError: The visual tokens do not match the mask.
    """
    if labels.shape != bool_masked_pos.shape:
        raise ValueError(
            f"The visual tokens are {tuple(labels.shape)}, expected {tuple(bool_masked_pos.shape)}: one for every "
            "patch, masked or not."
        )
    labels = labels.to(logits.device)
    targets_M = labels[bool_masked_pos].long()
    entropies_M = nn.functional.cross_entropy(logits.float(), targets_M, reduction="none", ignore_index=-100)
    counted = bool_masked_pos & (labels != -100)
    share_B = 1.0 / counted.sum(dim=1).clamp(min=1).float()
    return (entropies_M * share_B[bool_masked_pos.nonzero()[:, 0]]).sum() / labels.shape[0]


class FaRLForPreTraining(MaskedImageBranch, FaRLModel):
    """Both encoders, and the branch of masked image modelling unless `config.mim_weight` is 0.

    [`FaRLModel`] and the models of all tasks load its checkpoints.
    """

    _keys_to_ignore_on_load_unexpected = [*HEAD_PARTS, *FORMER_PARTS]  # noqa: RUF012

    def build_parts(self, config: FaRLConfig) -> None:
        """Create encoders, projections and branch."""
        super().build_parts(config)
        if config.mim_weight:
            self.build_masked_branch(config)

    def init_farl_weights(self, factor: float) -> None:
        """Both parts have their own rules."""
        super().init_farl_weights(factor)
        if self.config.mim_weight:
            self.init_masked_branch(factor)

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor,
        pixel_values: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        bool_masked_pos: torch.Tensor | None = None,
        mim_labels: torch.Tensor | None = None,
        return_loss: bool = True,
        **kwargs: Any,
    ) -> FaRLForPreTrainingOutput:
        """Encode clean and masked images and texts, contrast the pairs of all processes, predict the masked patches.

        Args:
            input_ids (`torch.LongTensor` of shape `(B, T)`): Token ids; text i belongs to image i.
            pixel_values (`torch.FloatTensor` of shape `(B, 3, H, W)`): Normalised images.
            attention_mask (`torch.LongTensor` of shape `(B, T)`, *optional*): 1 for tokens, 0 for padding.
            bool_masked_pos (`torch.BoolTensor` of shape `(B, patches)`, *optional*): Masked patches, row by row.
                Needed for a loss, unless `config.mim_weight` is 0; without it, no masked copies are computed.
            mim_labels (`torch.LongTensor` of shape `(B, patches)`, *optional*): Visual token of every patch. Those of
                patches that are not masked, and -100, are ignored.
            return_loss (`bool`, *optional*, defaults to `True`): Compute the contrastive and the whole loss. Without
                it nothing is exchanged between processes; `mim_loss` is computed wherever `mim_labels` are given.

        Returns:
            [`FaRLForPreTrainingOutput`]: Losses, features and similarities.

        Raises:
            ValueError: Masks or visual tokens are missing or of another shape.
        """
        warn_unrecorded(self, kwargs, ", because clean and masked images share a batch; use FaRLModel")
        mask_BT = self._mask_of_branch(pixel_values, bool_masked_pos, mim_labels, return_loss)
        image_embeds, mim_logits = self._encode_clean_and_masked(pixel_values, mask_BT, **kwargs)
        text_embeds = self._encode_texts(input_ids, attention_mask, **kwargs)

        scale = bounded_logit_scale(self.logit_scale)
        itc_loss = contrastive_loss(image_embeds, text_embeds, scale) if return_loss else None
        logits_per_image = scaled_similarities(image_embeds.detach(), text_embeds.detach(), scale.detach())

        mim_loss = None
        if mask_BT is not None and mim_labels is not None:
            mim_loss = masked_token_loss(mim_logits, mim_labels, mask_BT)

        return FaRLForPreTrainingOutput(
            loss=None if itc_loss is None else self.joint_loss(itc_loss, mim_loss),
            itc_loss=itc_loss,
            mim_loss=mim_loss,
            logit_scale=scale,
            image_embeds=image_embeds,
            text_embeds=text_embeds,
            logits_per_image=logits_per_image,
            logits_per_text=logits_per_image.t(),
            mim_logits=mim_logits,
        )

    def joint_loss(self, itc_loss: torch.Tensor, mim_loss: torch.Tensor | None = None) -> torch.Tensor:
        """Return `itc_loss + mim_weight * mim_loss`; the weights of the paper were not published.

        Args:
            itc_loss (`torch.FloatTensor` of shape `()`): Contrastive loss.
            mim_loss (`torch.FloatTensor` of shape `()`, *optional*): Loss of masked image modelling, if it is on.
        """
        return itc_loss if mim_loss is None else itc_loss + self.config.mim_weight * mim_loss

    def _mask_of_branch(self, pixel_values, bool_masked_pos, mim_labels, return_loss):
        """Return the mask (B, patches), or None where no masked copies are computed."""
        if not self.config.mim_weight or (bool_masked_pos is None and not return_loss):
            return None
        mask_BT = self.checked_mask(bool_masked_pos, pixel_values)
        if return_loss and mim_labels is None:
            raise ValueError("mim_labels are missing: pass the visual token of every patch, or set mim_weight=0.")
        return mask_BT

    def _encode_clean_and_masked(self, pixel_values, mask_BT, **kwargs):
        """Return unit-length features (B, P) of clean images, and scores (M, V) of masked patches, in one pass."""
        batch, mim_logits, masks = pixel_values.shape[0], None, {}
        if mask_BT is not None:
            pixel_values = torch.cat([pixel_values, pixel_values])
            mask_2BT = torch.cat([torch.zeros_like(mask_BT), mask_BT])
            masks = {"bool_masked_pos": mask_2BT, "mask_token": self.mask_token}
        outputs = self.vision_model(pixel_values, return_dict=True, **masks, **kwargs)
        if mask_BT is not None:
            mim_logits = self.masked_logits(outputs.last_hidden_state[batch:], mask_BT, **kwargs)
        return unit_length(self.visual_projection(outputs.pooler_output[:batch]).float()), mim_logits

    def _encode_texts(self, input_ids, attention_mask, **kwargs):
        """Return unit-length features (B, P) of texts."""
        outputs = self.get_text_features(input_ids, attention_mask, return_dict=True, **kwargs)
        return unit_length(outputs.pooler_output.float())


class FaRLForMaskedImageModeling(MaskedImageBranch):
    """The vision encoder and the branch of masked image modelling: predicts the visual tokens of masked patches."""

    config_class = FaRLConfig
    input_modalities = ["image"]  # noqa: RUF012
    _keys_to_ignore_on_load_unexpected = [*TEXT_PARTS, *JOINT_PARTS, *HEAD_PARTS, r"post_layernorm\."]  # noqa: RUF012

    def __init__(self, config: FaRLConfig):
        super().__init__(config)
        self.vision_model = FaRLVisionModel._from_config(config.vision_config, add_post_layernorm=False)
        self.build_masked_branch(config)
        self.post_init()

    def init_farl_weights(self, factor: float) -> None:
        """Initialise the mask token."""
        self.init_masked_branch(factor)

    @encoder_records
    def forward(
        self,
        pixel_values: torch.Tensor,
        bool_masked_pos: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> MaskedLMOutput:
        """Score the visual tokens of masked patches.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(B, 3, H, W)`): Normalised images.
            bool_masked_pos (`torch.BoolTensor` of shape `(B, patches)`): Masked patches, row by row.
            labels (`torch.LongTensor` of shape `(B, patches)`, *optional*): Visual token of every patch; those of
                patches that are not masked, and -100, are ignored.

        Returns:
            `MaskedLMOutput`: `loss`, float32, and `logits` (M, V) of the masked patches, in row-major order.
        """
        mask_BT = self.checked_mask(bool_masked_pos, pixel_values)
        outputs = self.vision_model(pixel_values, bool_masked_pos=mask_BT, mask_token=self.mask_token, **kwargs)
        logits = self.masked_logits(outputs.last_hidden_state, mask_BT)
        loss = None if labels is None else masked_token_loss(logits, labels, mask_BT)
        return MaskedLMOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions
        )


def bounded_logit_scale(log_scale: torch.Tensor, largest_log: float = LARGEST_LOG_SCALE) -> torch.Tensor:
    """Return the logit scale: exp(log_scale), no larger than exp(largest_log), in float32.

    At the bound, only gradients that lower the parameter pass. So it stays at the bound or returns from it, as if it
    were clamped after each optimizer step (open_clip). This works under every optimizer; clamping after the step does
    not, because ZeRO keeps a master copy of the parameter. A plain clamp in the forward pass would have no gradient
    at the bound, and the parameter would never return.

    Args:
        log_scale (`torch.FloatTensor` of shape `(1,)`): Natural logarithm of the logit scale.
        largest_log (`float`, *optional*, defaults to ln 100): Its upper bound.
    """
    return _BoundedAbove.apply(log_scale.float(), largest_log).exp()


class _BoundedAbove(torch.autograd.Function):
    """The smaller of a value and its bound. At the bound, gradient descent may only lower the value."""

    @staticmethod
    def forward(ctx, value, bound):
        # Not the value itself: ZeRO-3 empties parameters between the passes.
        ctx.save_for_backward(value >= bound)
        return value.clamp(max=bound)

    @staticmethod
    def backward(ctx, gradient):
        (at_bound,) = ctx.saved_tensors
        if (processes := process_count()) > 1:
            # The mean of all processes decides. If each decided for itself, the averaged gradient would depend on how
            # the batch is divided.
            gradient = gradient.clone()
            distributed.all_reduce(gradient)
            gradient = gradient / processes
        return gradient.masked_fill(at_bound & (gradient < 0), 0.0), None
