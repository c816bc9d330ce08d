"""Pre-training of FaRL: image-text contrast on clean images, masked image modelling on masked copies of them.

Source: FacePerceiver/FaRL `farl/network/farl/model.py` (MIT), `VisualTransformer.forward_mim`: clean and masked images
go through the shared tower in one batch; the masked ones then through a few blocks of their own and a classifier of
visual tokens. The objective around it was not published; the paper's section 3 describes it.

Shapes: B pairs, T tokens, C width, P projection size, M masked patches of a batch, V visual tokens, N patches of an
image, A words.
"""

from dataclasses import dataclass

import torch
from torch import nn
from transformers import initialization as init
from transformers.modeling_outputs import MaskedLMOutput
from transformers.utils import ModelOutput
from transformers.utils.generic import can_return_tuple

from .configuration_farl import FaRLConfig
from .contrastive_loss_farl import contrastive_loss, inverse_temperature, scaled_similarities
from .losses_farl import masked_token_loss, patch_word_loss, patchwork_loss, word_loss
from .modeling_farl import (
    HEAD_PARTS,
    JOINT_PARTS,
    PRETRAINING_PARTS,
    TEXT_PARTS,
    WORD_PARTS,
    FaRLModel,
    FaRLPreTrainedModel,
    FaRLVisionModel,
)
from .transformer_farl import FaRLEncoder

__all__ = ["FaRLForMaskedImageModeling", "FaRLForPreTraining", "FaRLForPreTrainingOutput"]


@dataclass
class FaRLForPreTrainingOutput(ModelOutput):
    """Output of [`FaRLForPreTraining`]; every scalar is float32.

    Args:
        loss (`torch.FloatTensor` of shape `()`, *optional*): `itc_weight * itc_loss + mim_weight * mim_loss +
            word_weight * word_loss + patch_word_weight * patch_word_loss + patchwork_weight * patchwork_loss`, with
            `return_loss=True`.
        itc_loss (`torch.FloatTensor` of shape `()`, *optional*): Symmetric contrastive loss of this process's pairs
            among those of all processes, with `return_loss=True`.
        mim_loss (`torch.FloatTensor` of shape `()`, *optional*): Loss of masked image modelling, with `mim_labels`.
        word_loss (`torch.FloatTensor` of shape `()`, *optional*): Loss of naming the captions' words, the mean of that
            from images and that from texts, unless `config.word_weight` is 0.
        patch_word_loss (`torch.FloatTensor` of shape `()`, *optional*): Loss of naming them from single patches, and
            of patches that oppose their image, unless `config.patch_word_weight` is 0.
        patchwork_loss (`torch.FloatTensor` of shape `()`, *optional*): Loss of naming them from the patches of mixed
            pictures, unless `config.patchwork_weight` is 0.
        logit_scale (`torch.FloatTensor` of shape `(1,)`): Inverse temperature that multiplies similarities.
        image_embeds (`torch.FloatTensor` of shape `(B, P)`): Unit-length features of the clean images, float32.
        text_embeds (`torch.FloatTensor` of shape `(B, P)`): Unit-length text features, float32.
        logits_per_image (`torch.FloatTensor` of shape `(B, B)`): Scaled similarities of this process's pairs.
        logits_per_text (`torch.FloatTensor` of shape `(B, B)`): Their transpose.
        mim_logits (`torch.FloatTensor` of shape `(M, V)`, *optional*): Scores of the masked patches, in row-major
            order of `bool_masked_pos`.
    """

    loss: torch.FloatTensor | None = None
    itc_loss: torch.FloatTensor | None = None
    mim_loss: torch.FloatTensor | None = None
    word_loss: torch.FloatTensor | None = None
    patch_word_loss: torch.FloatTensor | None = None
    patchwork_loss: torch.FloatTensor | None = None
    logit_scale: torch.FloatTensor | None = None
    image_embeds: torch.FloatTensor | None = None
    text_embeds: torch.FloatTensor | None = None
    logits_per_image: torch.FloatTensor | None = None
    logits_per_text: torch.FloatTensor | None = None
    mim_logits: torch.FloatTensor | None = None


class MaskedImageBranch:
    """The parts that follow the shared tower on masked copies; mixed into a model with a `vision_model`.

    Their names are those of converted checkpoints: `mask_token`, `mim_encoder`, `mim_layer_norm`, `mim_head`.
    """

    def build_masked_branch(self, config):
        """Create the parts."""
        vision = config.vision_config
        self.mask_token = nn.Parameter(torch.zeros(vision.hidden_size))
        self.mim_encoder = FaRLEncoder(vision, drop_path_rates=[0.0] * config.mim_num_hidden_layers)
        self.mim_layer_norm = nn.LayerNorm(vision.hidden_size, eps=vision.layer_norm_eps)
        self.mim_head = nn.Linear(vision.hidden_size, config.mim_vocab_size)

    def post_init(self):
        """Finish the construction; weights of the branch that do not fit are reported on loading."""
        super().post_init()
        if hasattr(self, "mim_head"):
            # The tower, which ignores them where it is loaded alone, has passed its patterns on.
            self._keys_to_ignore_on_load_unexpected -= set(PRETRAINING_PARTS)

    def init_masked_branch(self, factor):
        """The mask token starts like the class token, normal with width^-0.5; the other parts as in the tower."""
        init.normal_(self.mask_token, std=self.config.vision_config.hidden_size**-0.5 * factor)

    def checked_mask(self, bool_masked_pos, pixel_values):
        """Return the mask as (B, patches) of bool, or say what is wrong with it."""
        patch = self.config.vision_config.patch_size
        batch, height, width = pixel_values.shape[0], *pixel_values.shape[-2:]
        expected = (batch, (height // patch) * (width // patch))
        if bool_masked_pos is None or tuple(bool_masked_pos.shape) != expected:
            came = "missing" if bool_masked_pos is None else f"of shape {tuple(bool_masked_pos.shape)}"
            raise ValueError(
                f"bool_masked_pos is {came}, expected {expected}: one row per image, one entry per patch of {patch} x "
                f"{patch} pixels, row by row."
            )
        return bool_masked_pos.to(pixel_values.device, torch.bool)

    def masked_logits(self, hidden_BTC, bool_masked_pos, **kwargs):
        """Return the scores (M, V) of masked patches from the tower's last block on masked images, (B, T, C)."""
        hidden_BTC = self.mim_encoder(hidden_BTC, **kwargs)
        return self.mim_head(self.mim_layer_norm(hidden_BTC[:, 1:][bool_masked_pos]))

    def masked_loss(self, mim_logits, mim_labels, bool_masked_pos):
        """Return the loss of masked image modelling; see `masked_token_loss`."""
        if mim_labels.shape != bool_masked_pos.shape:
            raise ValueError(
                f"The visual tokens are {tuple(mim_labels.shape)}, expected {tuple(bool_masked_pos.shape)}: one for "
                "every patch, masked or not."
            )
        return masked_token_loss(mim_logits, mim_labels.to(mim_logits.device), bool_masked_pos)


class FaRLForPreTraining(MaskedImageBranch, FaRLModel):
    """Both towers, and the branch of masked image modelling unless `config.mim_weight` is 0.

    With `config.word_weight`, not in the paper, one classifier names the words of a caption from the image's feature
    and from the text's (classes as in SuperClass, Huang et al., NeurIPS 2024). Contrast alone teaches nothing of a
    word while neither tower tells it apart: where the picture's feature lacks it, the text's learns to drop it.

    With `config.patch_word_weight`, not in the paper, single patches name the words: short sentences around them are
    compared with what each patch adds to the class token in the last block, which is what Grad-CAM reads there. The
    caption says which words, not where (multiple-instance learning).

    With `config.patchwork_weight` besides, patches of pictures put together of two must not name the other's words:
    attention lets any patch know what others show.

    What it saves is at once a checkpoint of [`FaRLModel`] and the start of every head.
    """

    _keys_to_ignore_on_load_unexpected = (*HEAD_PARTS, *WORD_PARTS)

    def build_parts(self, config):
        """Create towers, projections and branch."""
        super().build_parts(config)
        if config.mim_weight:
            self.build_masked_branch(config)
        if config.word_weight:
            self.word_head = nn.Linear(config.projection_dim, config.text_config.vocab_size)

    def init_farl_weights(self, factor):
        """Both parts have their own rules."""
        super().init_farl_weights(factor)
        if self.config.mim_weight:
            self.init_masked_branch(factor)

    @can_return_tuple
    def forward(
        self,
        input_ids,
        pixel_values,
        attention_mask=None,
        bool_masked_pos=None,
        mim_labels=None,
        word_ids=None,
        word_input_ids=None,
        word_attention_mask=None,
        patchwork_pos=None,
        return_loss: bool = True,
        **kwargs,
    ):
        """Encode pairs, and compare them with the pairs of all processes.

        Args:
            input_ids (`torch.LongTensor` of shape `(B, T)`): Token ids; text i belongs to image i.
            pixel_values (`torch.FloatTensor` of shape `(B, 3, H, W)`): Normalised images.
            attention_mask (`torch.LongTensor` of shape `(B, T)`, *optional*): 1 for tokens, 0 for padding.
            bool_masked_pos (`torch.BoolTensor` of shape `(B, patches)`, *optional*): Masked patches, row by row.
                Needed for a loss, unless `config.mim_weight` is 0; without it, no masked copies are computed.
            mim_labels (`torch.LongTensor` of shape `(B, patches)`, *optional*): Visual token of every patch. Those of
                patches that are not masked, and -100, are ignored.
            word_ids (`torch.LongTensor` of shape `(A,)`, *optional*): Entries of the vocabulary that patches name.
                Needed for a loss, unless `config.patch_word_weight` is 0.
            word_input_ids (`torch.LongTensor` of shape `(A, T)`, *optional*): A sentence around each of them.
            word_attention_mask (`torch.LongTensor` of shape `(A, T)`, *optional*): 1 for its tokens, 0 for padding.
            patchwork_pos (`torch.BoolTensor` of shape `(M, patches)`, *optional*): Which patches of the first M images
                the next image's are put in place of, for pictures of two; that of the last is the first. Needed for a
                loss, unless `config.patchwork_weight` is 0.
            return_loss (`bool`, *optional*, defaults to `True`): Compute the contrastive and the whole loss. Without
                it nothing is exchanged between processes; `mim_loss` is computed wherever `mim_labels` are given.

        Returns:
            [`FaRLForPreTrainingOutput`]: Losses, features and similarities.
        """
        masks = self.config.mim_weight > 0 and (return_loss or bool_masked_pos is not None)
        mask_BT = self.checked_mask(bool_masked_pos, pixel_values) if masks else None
        if masks and return_loss and mim_labels is None:
            raise ValueError("mim_labels are missing: pass the visual token of every patch, or set mim_weight=0.")
        # Features alone, as in evaluation, need no words; the passes of cached contrast that learn do.
        learns = return_loss or torch.is_grad_enabled()
        names_patches = self.config.patch_word_weight > 0 and learns
        if names_patches:
            self._check_words(word_ids, word_input_ids, patchwork_pos)
        image_embeds, mim_logits, patches_BNP = self._encode_images(pixel_values, mask_BT, names_patches, **kwargs)
        text_embeds = self._sentence_features(input_ids, attention_mask, **kwargs)
        scale = inverse_temperature(self.logit_scale, self.config.logit_scale_max)
        has_targets = masks and mim_labels is not None
        mim_loss = self.masked_loss(mim_logits, mim_labels, mask_BT) if has_targets else None
        itc_loss = contrastive_loss(image_embeds, text_embeds, scale) if return_loss else None
        names_words = self.config.word_weight > 0 and learns
        words = self.named_words_loss(image_embeds, text_embeds, input_ids) if names_words else None
        patch_words = patchwork = None
        if names_patches:
            sentences_AP = self._sentence_features(word_input_ids, word_attention_mask, **kwargs)
            has_BA = (input_ids[:, :, None] == word_ids).any(dim=1)
            scores_BNA, opposition_BN = _patch_scores(patches_BNP, image_embeds, sentences_AP)
            patch_words = patch_word_loss(scores_BNA, has_BA) + _OPPOSITION_WEIGHT * opposition_BN.mean()
            if self.config.patchwork_weight:
                patchwork = self.loss_of_patchwork(pixel_values, patchwork_pos, sentences_AP, has_BA, **kwargs)
        logits_per_image = scaled_similarities(image_embeds.detach(), text_embeds.detach(), scale.detach())
        return FaRLForPreTrainingOutput(
            loss=self.joint_loss(itc_loss, mim_loss, words, patch_words, patchwork) if return_loss else None,
            itc_loss=itc_loss,
            mim_loss=mim_loss,
            word_loss=words,
            patch_word_loss=patch_words,
            patchwork_loss=patchwork,
            logit_scale=scale,
            image_embeds=image_embeds,
            text_embeds=text_embeds,
            logits_per_image=logits_per_image,
            logits_per_text=logits_per_image.t(),
            mim_logits=mim_logits,
        )

    def joint_loss(self, itc_loss, *others):
        """Return the weighted sum of the losses; those of parts that are off are `None`.

        Args:
            itc_loss (`torch.Tensor` of shape `()`): Contrastive loss.
            *others (`torch.Tensor` of shape `()` or `None`): Those of masked images, of words, of words of patches and
                of patchwork, in this order.
        """
        config, loss = self.config, self.config.itc_weight * itc_loss
        weights = (config.mim_weight, config.word_weight, config.patch_word_weight, config.patchwork_weight)
        for weight, other in zip(weights, others, strict=True):
            loss = loss if other is None else loss + weight * other
        return loss

    def loss_of_patchwork(self, pixel_values, patchwork_pos, sentences_AP, has_BA, **kwargs):
        """Return the loss of naming words from pictures of two; see `patchwork_loss`.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(B, 3, H, W)`): Normalised images.
            patchwork_pos (`torch.BoolTensor` of shape `(M, patches)`): As in `forward`.
            sentences_AP (`torch.FloatTensor` of shape `(A, P)`): Unit-length features of sentences around the words.
            has_BA (`torch.BoolTensor` of shape `(B, A)`): Which words an image's caption has.
        """
        count, side = len(patchwork_pos), self.config.vision_config.patch_size
        rows, columns = pixel_values.shape[-2] // side, pixel_values.shape[-1] // side
        if count > len(pixel_values) or patchwork_pos.shape[1:] != (rows * columns,):
            raise ValueError(
                f"patchwork_pos is of shape {tuple(patchwork_pos.shape)}, expected at most {len(pixel_values)} rows "
                f"of {rows * columns}: one row per picture of two, one entry per patch of {side} x {side} pixels."
            )
        pixels = patchwork_pos.view(count, 1, rows, columns)
        pixels = pixels.repeat_interleave(side, dim=-2).repeat_interleave(side, dim=-1)
        mixed = torch.where(pixels, pixel_values.roll(-1, dims=0)[:count], pixel_values[:count])
        image_embeds, _, patches_MNP = self._encode_images(mixed, None, with_patches=True, **kwargs)
        own, other = has_BA[:count, None], has_BA.roll(-1, dims=0)[:count, None]
        mentioned_MNA = torch.where(patchwork_pos[..., None], other, own)
        return patchwork_loss(_patch_scores(patches_MNP, image_embeds, sentences_AP)[0], mentioned_MNA)

    def _check_words(self, word_ids, word_input_ids, patchwork_pos):
        if word_ids is None or word_input_ids is None:
            raise ValueError(
                "word_ids or word_input_ids are missing: pass words and a sentence around each of them (see "
                "farl_hf.training.word_sentences), or set patch_word_weight=0."
            )
        if self.config.patchwork_weight and patchwork_pos is None:
            raise ValueError(
                "patchwork_pos is missing: pass which patches are the next image's (see farl_hf.training.patchwork), "
                "or set patchwork_weight=0."
            )

    def _sentence_features(self, input_ids, attention_mask, **kwargs):
        """Return unit-length features (A, P) of sentences."""
        if not len(input_ids):  # as in a batch of one pair, whose words all its captions have
            return self.logit_scale.new_zeros(0, self.config.projection_dim)
        return _unit(self.get_text_features(input_ids, attention_mask, return_dict=True, **kwargs).pooler_output)

    def named_words_loss(self, image_embeds, text_embeds, input_ids):
        """Return the mean loss of naming the captions' words from images (B, P) and from texts (B, P)."""
        text = self.config.text_config
        unused_ids = (text.bos_token_id, text.eos_token_id, text.pad_token_id)
        # Entries of a feature of length 1 would be small beside the initial weights; times this they are about 1.
        logits_2BV = self.word_head(torch.cat([image_embeds, text_embeds]) * self.config.projection_dim**0.5)
        return word_loss(logits_2BV, torch.cat([input_ids, input_ids]), unused_ids)

    def patch_features(self, hidden_BTC):
        """Return what each patch adds to the image's feature in the last block, (B, N, P) float32, up to a factor.

        Grad-CAM at the block's first norm weighs a patch by its share in the class token's values, and so by this.
        What goes through the block's MLP, and biases, which are the same for all patches, are left out.

        Args:
            hidden_BTC (`torch.FloatTensor` of shape `(B, 1 + N, C)`): Tokens that enter the last block.
        """
        block = self.vision_model.encoder.layers[-1]
        value, out = block.self_attn.v_proj.weight, block.self_attn.out_proj.weight
        added_BNC = nn.functional.linear(nn.functional.linear(block.layer_norm1(hidden_BTC[:, 1:]), value), out)
        added_BNC = added_BNC - added_BNC.mean(dim=-1, keepdim=True)
        return self.visual_projection(added_BNC * self.vision_model.post_layernorm.weight).float()

    def _encode_images(self, pixel_values, mask_BT, with_patches=False, **kwargs):
        """Return features (B, P) and patches (B, N, P) of clean images, and scores (M, V) of masked ones; one pass."""
        mask_token = None if mask_BT is None else self.mask_token
        tokens = self.vision_model.embed(pixel_values, mask_BT, mask_token)
        batch, encoder, patches_BNP = pixel_values.shape[0], self.vision_model.encoder, None
        if with_patches:
            last = len(encoder.layers) - 1
            before, hidden = encoder.block_outputs(tokens, [last - 1, last], **kwargs)
            patches_BNP = self.patch_features(before[:batch])
        else:
            hidden = encoder(tokens, **kwargs)
        pooled_BC = self.vision_model.post_layernorm(hidden[:batch, 0])
        mim_logits = None if mask_BT is None else self.masked_logits(hidden[batch:], mask_BT, **kwargs)
        return _unit(self.visual_projection(pooled_BC)), mim_logits, patches_BNP


class FaRLForMaskedImageModeling(MaskedImageBranch, FaRLPreTrainedModel):
    """The vision tower and the branch of masked image modelling, alone: names the visual tokens of masked patches."""

    config_class = FaRLConfig
    input_modalities = ("image",)
    _keys_to_ignore_on_load_unexpected = (*TEXT_PARTS, *JOINT_PARTS, *HEAD_PARTS, r"post_layernorm\.")

    def __init__(self, config):
        super().__init__(config)
        self.vision_model = FaRLVisionModel._from_config(config.vision_config, add_post_layernorm=False)
        self.build_masked_branch(config)
        self.post_init()

    def init_farl_weights(self, factor):
        """Initialise the mask token."""
        self.init_masked_branch(factor)

    def get_input_embeddings(self):
        """Return the patch convolution."""
        return self.vision_model.get_input_embeddings()

    @can_return_tuple
    def forward(self, pixel_values, bool_masked_pos=None, labels=None, **kwargs):
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
        tokens_BTC = self.vision_model.embed(pixel_values, mask_BT, self.mask_token)[pixel_values.shape[0] :]
        logits = self.masked_logits(self.vision_model.encoder(tokens_BTC, **kwargs), mask_BT, **kwargs)
        loss = None if labels is None else self.masked_loss(logits, labels, mask_BT)
        return MaskedLMOutput(loss=loss, logits=logits)


# Similarities of unit length become scores of -20 to 20.
_PATCH_SCALE = 20.0
_OPPOSITION_WEIGHT = 0.2


def _patch_scores(patches_BNP, image_embeds_BP, sentences_AP):
    """Return the scores (B, N, A) of sentences at patches, and how far each patch opposes its image (B, N).

    The derivative of a cosine does not see the direction of the image's own feature: patches go without what they have
    of it. Of a patch that opposes its image this would add to every word of the image, seen there or not: such patches
    (eyes, in faces) came to tell of beards and hair. Here it gains them nothing, and opposing costs.
    """
    image_B1P = image_embeds_BP[:, None]
    along_BN1 = (patches_BNP * image_B1P).sum(dim=-1, keepdim=True)
    length = (patches_BNP - along_BN1 * image_B1P).detach().square().sum(dim=-1).mean().sqrt()
    scale = _PATCH_SCALE / length
    scores_BNA = patches_BNP @ sentences_AP.T - along_BN1.clamp(min=0) * (image_B1P @ sentences_AP.T)
    return scale * scores_BNA, scale * (-along_BN1[..., 0]).clamp(min=0)


def _unit(features_BP):
    return nn.functional.normalize(features_BP.float(), dim=-1)
