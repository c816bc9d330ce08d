"""Arguments of the pre-training script."""

from dataclasses import dataclass

from farl_hf.errors import InvalidArgumentError
from farl_hf.training.arguments import DatasetArguments, HfArg, SharedTrainingArguments


@dataclass
class PretrainingModelArguments:
    """Which encoders are pre-trained, by which objective, and how faces are cropped."""

    model_name_or_path: str | None = HfArg(
        default=None, help="Checkpoint with both encoders to start from: a folder or a name. Default: from scratch."
    )
    config_name: str = HfArg(
        default="base", help="From scratch: base (ViT-B/16), tiny, toy, or a JSON file with FaRLConfig arguments."
    )
    tokenizer_name: str | None = HfArg(
        default=None, help="Folder or name of a tokenizer; `captions` learns one from the captions. Default: CLIP's."
    )
    tokenizer_vocab_size: int = HfArg(default=1280, help="Entries of a tokenizer that is learned from the captions.")
    max_text_tokens: int | None = HfArg(default=None, help="From scratch: longest text. Default: 77.")
    image_size: int | None = HfArg(default=None, help="Side of the crop in pixels. Default: 224.")
    face_template: str = HfArg(
        default="attribute",
        help="Where the face lies in the crop: lapa, or attribute, which is looser and which the supplement "
        "links to pre-training.",
    )
    face_scale: float = HfArg(default=1.0, help="Scale of the template; smaller shows more around.")
    objective: str = HfArg(
        default="itc_mim",
        help="itc_mim: image-text contrast and masked image modelling. itc: the contrast alone. simclr, swav: "
        "the vision encoder learns from two views of each face, without texts (supplement Table 2).",
    )
    # Defaults of both papers on ImageNet (SimCLR: appendix B.7, long training).
    simclr_temperature: float = HfArg(default=0.1, help="simclr: temperature of its contrast.")
    num_prototypes: int = HfArg(
        default=3000, help="swav: prototypes; at most about the number of views of a step over all processes."
    )
    sinkhorn_epsilon: float = HfArg(
        default=0.05,
        help="swav: softness of assignments; choose less if the loss stays at the logarithm of num_prototypes.",
    )
    mim_num_hidden_layers: int | None = HfArg(
        default=None, help="Blocks of the masked-image branch. Default: the configuration's, 1."
    )
    mim_weight: float | None = HfArg(
        default=None, help="Weight of the masked-image loss. Default: the configuration's, 1."
    )
    visual_tokenizer: str = HfArg(
        default="facebook/flava-image-codebook",
        help="Gives the targets of masked patches: a name or folder of DALL-E's dVAE encoder, the folder of an "
        "earlier run, or `kmeans`, which is learned from the data at the start.",
    )
    visual_vocab_size: int | None = HfArg(
        default=None, help="Visual tokens of a tokenizer that is learned at the start."
    )
    attn_implementation: str | None = HfArg(
        default=None, help="eager or sdpa. Default: eager on a CPU, where it trains faster, else sdpa."
    )


@dataclass
class PretrainingDataArguments(DatasetArguments):
    """Which pairs of images and texts are used."""

    dataset_name: str = HfArg(
        default="laion_face",
        help="laion_face, synthetic_faces, a folder written by save_to_disk, or a name on the Hub.",
    )
    data_dir: str | None = HfArg(default=None, help="Folder of LAION-Face: img2dataset's shards and the detections.")
    eval_dataset_name: str | None = HfArg(
        default=None, help="Data set of the evaluation, in the common row shape. Default: dataset_name."
    )
    gallery_size: int = HfArg(default=256, help="Pairs among which retrieval searches for one.")
    face_ratio: float | None = HfArg(
        default=None, help="Share of face images at a fixed total (supplement Table 1). Default: only faces."
    )
    other_data_dir: str | None = HfArg(
        default=None, help="Folder of shards whose photos need not show a face, for --face-ratio."
    )
    min_face_score: float = HfArg(default=0.9, help="LAION-Face: smallest score of a detected face.")
    min_face_px: float = HfArg(default=32, help="LAION-Face: smallest side of a detected face, in pixels.")
    shuffle_window_size: int = HfArg(default=100_000, help="Samples of a stream that are shuffled together.")
    augmentation: str = HfArg(default="pretraining", help="Changes to the crop: pretraining, or none.")


@dataclass
class PretrainingArguments(SharedTrainingArguments):
    """[`~transformers.TrainingArguments`] with FaRL's pre-training recipe as defaults.

    The supplement, section 6, gives mixed precision, gradient checkpointing, ZeRO and clipping at 1.0. The other
    defaults could not be checked against the paper: AdamW with betas 0.9 and 0.98 and weight decay 0.05, learning rate
    1e-3 with warm-up over the first of 16 epochs and a cosine to zero, 5,120 pairs per step (32 devices, 160 pairs
    each).

    Args:
        grad_cache (`bool`, *optional*, defaults to `False`): GradCache (Gao et al. 2021): the pairs of all
            `gradient_accumulation_steps` batches are contrasted with each other, exactly, at the memory of one batch
            and the cost of one more forward pass. Without it, accumulation does not add negatives.
        ema_decay (`float`, *optional*, defaults to 0.0): Decay per step of averaged weights, which are evaluated and
            saved; 0 is off.
        ema_warmup (`bool`, *optional*, defaults to `False`): Decay `min(ema_decay, (1 + n) / (10 + n))` at step n.
        visual_tokenizer_samples (`int`, *optional*, defaults to 2000): Images from which a visual tokenizer is
            learned.
    """

    learning_rate: float = HfArg(default=1e-3, help="Highest learning rate.")
    weight_decay: float = HfArg(default=0.05, help="AdamW weight decay.")
    adam_beta2: float = HfArg(default=0.98, help="AdamW's second beta.")
    max_grad_norm: float = HfArg(default=1.0, help="Gradient clipping.")
    lr_scheduler_type: str = HfArg(default="cosine", help="Schedule of the learning rate.")
    warmup_steps: float = HfArg(default=1 / 16, help="Steps of warm-up; a share of all steps if below 1.")
    num_train_epochs: float = HfArg(default=16, help="Epochs.")
    per_device_train_batch_size: int = HfArg(default=160, help="Pairs per device and step.")
    per_device_eval_batch_size: int = HfArg(default=64, help="Pairs per device in evaluation.")
    label_names: list[str] | None = HfArg(default_factory=lambda: ["attributes"], help="Leave the default.")
    dataloader_drop_last: bool = HfArg(default=True, help="Leave True: all processes need batches of one size.")
    save_total_limit: int | None = HfArg(
        default=3, help="Checkpoints that are kept, the newest; one of ViT-B/16 takes 2 GB."
    )

    grad_cache: bool = HfArg(
        default=False,
        aliases=["--cached_contrast", "--cached-contrast"],
        help="GradCache: contrast the pairs of all accumulated batches, exactly, for one more forward pass.",
    )
    ema_decay: float = HfArg(default=0.0, help="Decay of averaged weights; 0 is off.")
    ema_warmup: bool = HfArg(default=False, help="Start averaging with a smaller decay.")
    visual_tokenizer_samples: int = HfArg(default=2000, help="Images from which a visual tokenizer is learned.")

    def __post_init__(self):
        if self.accelerator_config is None:
            # By default the main process would read a stream for all processes.
            self.accelerator_config = {"dispatch_batches": False, "split_batches": False}
        super().__post_init__()
        if self.grad_cache and self.gradient_accumulation_steps < 2:
            raise InvalidArgumentError(
                f"grad_cache joins accumulated batches, but gradient_accumulation_steps is "
                f"{self.gradient_accumulation_steps}; set it to 2 or more, or leave grad_cache out."
            )
