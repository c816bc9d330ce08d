"""Losses of the three heads and of masked image modelling, in float32, with entries that are not labelled left out.

Source: FacePerceiver/FaRL `farl/experiments` (parsing, alignment); paper supplement section 6 (attributes). The loss
of masked image modelling was not published.
"""

import torch
from torch.nn import functional

from .heatmap_farl import draw_heatmaps

# Of naming words from patches. A word need fill no more patches than these; captions mention few of the things that
# pictures show, so that one mention outweighs several omissions; all other patches had better be silent.
_PATCHES_OF_A_WORD = 4
_WEIGHT_OF_A_MENTION = 3.0
_WEIGHT_OF_SILENCE = 1.5
# Of a word whose picture is shown in part: what it names may have been cut off.
_WEIGHT_OF_A_PART = 0.5

# What stands for the score of a patch that is not asked.
_NEVER = -1e4

__all__ = [
    "attribute_loss",
    "landmark_losses",
    "masked_token_loss",
    "parsing_loss",
    "patch_word_loss",
    "patchwork_loss",
    "word_loss",
]


def parsing_loss(logits, labels, label_weights=None):
    """Mean cross-entropy per pixel, logits bilinearly upsampled to the labels.

    Args:
        logits (`torch.Tensor` of shape `(B, K, h, w)`): Class scores.
        labels (`torch.LongTensor` of shape `(B, H, W)`): Class ids; 255 and -100 are ignored.
        label_weights (`list[float]` of length `K`, *optional*): Weight of the pixels of each class in the mean; equal
            by default, as in the original.
    """
    logits = functional.interpolate(logits.float(), size=labels.shape[-2:], mode="bilinear", align_corners=False)
    ignored = (labels == 255) | (labels == -100)
    targets = labels.masked_fill(ignored, -100).long()
    if label_weights is None:
        return functional.cross_entropy(logits, targets, reduction="sum") / (~ignored).sum().clamp(min=1)
    weights_K = logits.new_tensor(label_weights)
    total = functional.cross_entropy(logits, targets, weight=weights_K, reduction="sum")
    return total / (weights_K[targets.clamp(min=0)] * ~ignored).sum().clamp(min=1e-6)


def landmark_losses(logits, points, labels, heatmap_size, heatmap_radius):
    """The official pair of losses.

    Args:
        logits (`torch.Tensor` of shape `(B, N, h, w)`): Heat-map scores before the sigmoid.
        points (`torch.Tensor` of shape `(B, N, 2)`): Decoded points in [0, 1].
        labels (`torch.Tensor` of shape `(B, N, 2)`): True points in [0, 1]; NaN where a point is not labelled.
        heatmap_size (`int`): Side of the target maps.
        heatmap_radius (`float`): Radius of a target in cells.

    Returns:
        `tuple[torch.Tensor, torch.Tensor]`: Mean Euclidean distance ("coord_l1_loss" in the original, though it is no
        L1 norm) and mean binary cross-entropy of the maps.
    """
    labelled = torch.isfinite(labels).all(dim=-1)
    count = labelled.sum().clamp(min=1)
    targets = torch.where(labelled[..., None], labels, torch.zeros_like(labels)).float()
    distances = (points.float() - targets + 1e-12).norm(dim=-1)
    maps = functional.interpolate(
        logits.float(), size=(heatmap_size, heatmap_size), mode="bilinear", align_corners=False
    )
    drawn = draw_heatmaps(targets, heatmap_size, heatmap_radius)
    entropies = functional.binary_cross_entropy_with_logits(maps, drawn, reduction="none").mean(dim=(-2, -1))
    return (distances * labelled).sum() / count, (entropies * labelled).sum() / count


def attribute_loss(logits, labels):
    """Mean binary cross-entropy over the entries that are labelled.

    Args:
        logits (`torch.Tensor` of shape `(B, L)`): Scores before the sigmoid.
        labels (`torch.Tensor` of shape `(B, L)`): 0 or 1; -100 where an attribute is not labelled.
    """
    labelled = labels != -100
    targets = labels.float().masked_fill(~labelled, 0.0)
    entropies = functional.binary_cross_entropy_with_logits(logits.float(), targets, reduction="none")
    return (entropies * labelled).sum() / labelled.sum().clamp(min=1)


def masked_token_loss(logits, labels, bool_masked_pos):
    """Cross-entropy over visual tokens, averaged over the masked patches of each image and then over the images.

    Images differ a little in how many patches are masked. Averaging per image keeps the loss of a batch the same
    however it is split over processes and accumulated passes; an image without masked patches counts as 0.

    Args:
        logits (`torch.Tensor` of shape `(M, V)`): Scores of the M masked patches, in row-major order.
        labels (`torch.LongTensor` of shape `(B, patches)`): Visual token of every patch; -100 is ignored.
        bool_masked_pos (`torch.BoolTensor` of shape `(B, patches)`): Which patches are masked.
    """
    targets_M = labels[bool_masked_pos].long()
    entropies_M = functional.cross_entropy(logits.float(), targets_M, reduction="none", ignore_index=-100)
    counted = bool_masked_pos & (labels != -100)
    share_B = 1.0 / counted.sum(dim=1).clamp(min=1).float()
    return (entropies_M * share_B[bool_masked_pos.nonzero()[:, 0]]).sum() / labels.shape[0]


def word_loss(logits, input_ids, unused_ids):
    """Binary cross-entropy of which words a caption has, per word that it has.

    Only words that some caption of the batch has are asked for; most of a vocabulary never comes.

    Args:
        logits (`torch.Tensor` of shape `(B, V)`): Score of each entry of the vocabulary.
        input_ids (`torch.LongTensor` of shape `(B, T)`): Token ids of the captions.
        unused_ids (`tuple[int, ...]`): Entries that are no words: start, end, padding.
    """
    targets = torch.zeros_like(logits, dtype=torch.float32).scatter_(1, input_ids, 1.0)
    targets[:, list(unused_ids)] = 0.0
    asked = targets.any(dim=0)
    total = functional.binary_cross_entropy_with_logits(logits[:, asked].float(), targets[:, asked], reduction="sum")
    return total / targets.sum().clamp(min=1)


def patch_word_loss(scores, mentioned):
    """How badly single patches name the words of the captions, per mention; learned as of a bag of patches.

    Binary cross-entropy of the mean over the highest scores of each word, plus the mean softplus over all patches of
    the words that are mentioned: some patches name the word, and most do not. Without the second part all patches
    learn to say what the picture shows, wherever they lie.

    Args:
        scores (`torch.Tensor` of shape `(B, N, A)`): Score of each of A words at each patch.
        mentioned (`torch.Tensor` of shape `(B, A)`): 1 where the caption has the word, else 0.
    """
    scores, mentioned = scores.float(), mentioned.float()
    weights = scores.new_full((scores.shape[2],), _WEIGHT_OF_A_MENTION)
    entropies = functional.binary_cross_entropy_with_logits(
        _highest(scores), mentioned, pos_weight=weights, reduction="sum"
    )
    noise = (functional.softplus(scores).mean(dim=1) * mentioned).sum()
    return (entropies + _WEIGHT_OF_SILENCE * noise) / mentioned.sum().clamp(min=1)


def patchwork_loss(scores, mentioned):
    """How badly the patches of pictures put together of several name the words of their own captions, per mention.

    Patches are silent about words that their own picture's caption lacks, though another part shows what they name: a
    patch that tells of what it has merely read off others is wrong here. Words of a picture are to be found in its own
    part, as far as they still can be: those of whole pictures surely, those of parts perhaps, which count half.

    Args:
        scores (`torch.Tensor` of shape `(B, N, A)`): Score of each of A words at each patch.
        mentioned (`torch.Tensor` of shape `(B, N, A)`): 1 where the caption of the patch's own picture has the word,
            else 0.
    """
    scores, mentioned = scores.float(), mentioned.bool()
    foreign = functional.softplus(_highest(scores.masked_fill(mentioned, _NEVER)))
    own = functional.softplus(-_highest(scores.masked_fill(~mentioned, _NEVER)))
    weights = mentioned.any(dim=1).float() * torch.where(mentioned.all(dim=1), 1.0, _WEIGHT_OF_A_PART)
    noise = (functional.softplus(scores) * mentioned).mean(dim=1)
    total = foreign.sum() + _WEIGHT_OF_A_MENTION * (own * weights).sum() + _WEIGHT_OF_SILENCE * noise.sum()
    return total / mentioned.any(dim=1).sum().clamp(min=1)


def _highest(scores_BNA):
    """Return the mean of the highest scores of each word, (B, A)."""
    return scores_BNA.topk(min(_PATCHES_OF_A_WORD, scores_BNA.shape[1]), dim=1).values.mean(dim=1)
