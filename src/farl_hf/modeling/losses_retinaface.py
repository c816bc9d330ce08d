"""The MultiBox loss of RetinaFace (biubug6/Pytorch_Retinaface: layers/modules/multibox_loss.py, utils/box_utils.py).

Letters in shapes: B pictures, A anchors, n faces of one picture, P positive anchors of the batch.
One deviation: a face whose best anchor overlaps too little to claim it leaves that anchor alone; the original lets it
take over the anchor's target if another face made the anchor positive.
"""

import torch
import torch.nn.functional as F
from torchvision.ops import box_convert, box_iou


def match_anchors(
    boxes_xyxy: torch.Tensor, anchors_cxcywh: torch.Tensor, match_threshold: float, claim_threshold: float
) -> torch.Tensor:
    """
    Assign a face or the background to every anchor of one picture.

    An anchor belongs to the face that it overlaps most, if by at least `match_threshold`. Beyond that, every face
    claims its best anchor if they overlap by at least `claim_threshold`; of two claims the later face wins.

    Args:
        boxes_xyxy (`torch.Tensor` of shape (n, 4)): Faces, in the frame of the anchors.
        anchors_cxcywh (`torch.Tensor` of shape (A, 4)): Anchors as centre and size.
        match_threshold, claim_threshold (`float`): Intersections over union.

    Returns:
        `torch.Tensor` of shape (A,): index of the face, -1 for background.
    """
    num_anchors = anchors_cxcywh.shape[0]
    if boxes_xyxy.shape[0] == 0:
        return torch.full((num_anchors,), -1, dtype=torch.int64, device=anchors_cxcywh.device)
    overlaps = box_iou(boxes_xyxy, box_convert(anchors_cxcywh, "cxcywh", "xyxy"))
    best_overlap, face_of_anchor = overlaps.max(dim=0)
    face_of_anchor = face_of_anchor.where(best_overlap >= match_threshold, -1)

    claim_overlap, claimed_anchor = overlaps.max(dim=1)
    claiming_face = (claim_overlap >= claim_threshold).nonzero().squeeze(1)
    claims = torch.full_like(face_of_anchor, -1)
    claims.scatter_reduce_(0, claimed_anchor[claiming_face], claiming_face, reduce="amax")
    return claims.where(claims >= 0, face_of_anchor)


def encode_boxes(boxes_xyxy: torch.Tensor, anchors_cxcywh: torch.Tensor, variances) -> torch.Tensor:
    """Offsets (P, 4) of boxes from their anchors: centre / (variance * size), log(size ratio) / variance."""
    centers_sizes = box_convert(boxes_xyxy, "xyxy", "cxcywh")
    centers = (centers_sizes[:, :2] - anchors_cxcywh[:, :2]) / (variances[0] * anchors_cxcywh[:, 2:])
    sizes = torch.log(centers_sizes[:, 2:] / anchors_cxcywh[:, 2:]) / variances[1]
    return torch.cat([centers, sizes], dim=1)


def encode_keypoints(keypoints_xy: torch.Tensor, anchors_cxcywh: torch.Tensor, variances) -> torch.Tensor:
    """Offsets (P, 10) of five points from the centres of their anchors: distance / (variance * size)."""
    offsets = (keypoints_xy - anchors_cxcywh[:, None, :2]) / (variances[0] * anchors_cxcywh[:, None, 2:])
    return offsets.flatten(1)


def select_hard_negatives(background_loss: torch.Tensor, positive: torch.Tensor, ratio: int) -> torch.Tensor:
    """
    The background anchors with the highest loss, `ratio` per positive anchor of their picture.

    Args:
        background_loss (`torch.Tensor` of shape (B, A)): Classification loss of every anchor as background.
        positive (`torch.Tensor` of shape (B, A), bool): Anchors that belong to faces.
        ratio (`int`): Negatives per positive.

    Returns:
        `torch.Tensor` of shape (B, A), bool.
    """
    num_anchors = positive.shape[1]
    wanted = (ratio * positive.sum(dim=1)).clamp(max=num_anchors - 1)
    most = int(wanted.max())
    hardest = background_loss.masked_fill(positive, -1.0).topk(most, dim=1).indices
    taken = torch.arange(most, device=positive.device)[None] < wanted[:, None]
    return torch.zeros_like(positive).scatter_(1, hardest, taken) & ~positive


def check_labels(labels, batch_size: int) -> None:
    """Raise a `ValueError` that says what is wrong, if `labels` is not what `retinaface_loss` takes."""
    if not isinstance(labels, list | tuple) or len(labels) != batch_size:
        found = f"{len(labels)} entries" if isinstance(labels, list | tuple) else type(labels).__name__
        raise ValueError(f"labels is {found}; expected a list with one dictionary for each of {batch_size} pictures.")
    for index, faces in enumerate(labels):
        missing = {"boxes_xyxy", "keypoints_xy"} - set(faces)
        if missing:
            raise ValueError(f"labels[{index}] lacks {sorted(missing)}; it has {sorted(faces)}.")
        boxes_shape, points_shape = tuple(faces["boxes_xyxy"].shape), tuple(faces["keypoints_xy"].shape)
        if boxes_shape[1:] != (4,) or points_shape != (boxes_shape[0], 5, 2):
            raise ValueError(
                f"labels[{index}] has boxes_xyxy of shape {boxes_shape} and keypoints_xy of shape {points_shape}; "
                "expected (n, 4) and (n, 5, 2), n may be 0."
            )


def make_targets(labels, anchors, size_hw, config) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """
    Match all pictures and code the faces of the positive anchors.

    Returns:
        positive (B, A) bool, box targets (P, 4), keypoint targets (P, 10) with NaN where a face has no points; the
        order of P is that of `positive` flattened.
    """
    scale_xy = anchors.new_tensor([size_hw[1], size_hw[0]])
    positive, box_targets, keypoint_targets = [], [], []
    for faces in labels:
        boxes = faces["boxes_xyxy"].to(anchors) * scale_xy.repeat(2)
        points = faces["keypoints_xy"].to(anchors) * scale_xy
        face_of_anchor = match_anchors(boxes, anchors, config.match_threshold, config.claim_threshold)
        chosen = face_of_anchor >= 0
        faces_chosen, anchors_chosen = face_of_anchor[chosen], anchors[chosen]
        positive.append(chosen)
        box_targets.append(encode_boxes(boxes[faces_chosen], anchors_chosen, config.variances))
        keypoint_targets.append(encode_keypoints(points[faces_chosen], anchors_chosen, config.variances))
    return torch.stack(positive), torch.cat(box_targets), torch.cat(keypoint_targets)


def retinaface_loss(class_logits, box_offsets, keypoint_offsets, anchors, size_hw, labels, config):
    """
    The weighted loss of a batch and its three parts.

    Boxes and classes are averaged over the positive anchors of the batch, points over those whose face has points.
    A picture without faces has no positives, hence (7 negatives per positive) takes no part, as in the original.

    Args:
        class_logits, box_offsets, keypoint_offsets (`torch.Tensor` of shape (B, A, 2 | 4 | 10)): Predictions.
        anchors (`torch.Tensor` of shape (A, 4)): Centre and size, input pixels.
        size_hw (`tuple[int, int]`): Size of the input.
        labels (`list[dict]`): As in `RetinaFaceForFaceDetection.forward`.
        config (`RetinaFaceConfig`): Thresholds, variances and weights.

    Returns:
        `tuple[torch.Tensor, dict[str, torch.Tensor]]`: the loss; `class_loss`, `box_loss`, `keypoint_loss`, detached.

    Raises:
        ValueError: `labels` have another form.
    """
    check_labels(labels, class_logits.shape[0])
    class_logits, box_offsets, keypoint_offsets = (x.float() for x in (class_logits, box_offsets, keypoint_offsets))
    positive, box_targets, keypoint_targets = make_targets(labels, anchors, size_hw, config)
    num_positive = positive.sum().clamp(min=1)

    box_loss = F.smooth_l1_loss(box_offsets[positive], box_targets, reduction="sum") / num_positive

    has_points = keypoint_targets.isfinite().all(dim=1)
    keypoint_loss = F.smooth_l1_loss(
        keypoint_offsets[positive][has_points], keypoint_targets[has_points], reduction="sum"
    ) / has_points.sum().clamp(min=1)

    class_losses = F.cross_entropy(class_logits.flatten(0, 1), positive.flatten().long(), reduction="none")
    class_losses = class_losses.view_as(positive)
    negative = select_hard_negatives(class_losses.detach(), positive, config.negative_ratio)
    class_loss = class_losses[positive | negative].sum() / num_positive

    loss = (
        config.class_loss_weight * class_loss
        + config.box_loss_weight * box_loss
        + config.keypoint_loss_weight * keypoint_loss
    )
    parts = {"class_loss": class_loss, "box_loss": box_loss, "keypoint_loss": keypoint_loss}
    return loss, {name: part.detach() for name, part in parts.items()}


__all__ = ["encode_boxes", "encode_keypoints", "match_anchors", "retinaface_loss"]
