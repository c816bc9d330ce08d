import hashlib
import json
from collections import Counter
from pathlib import Path

import pytest
import torch
from laion_shards import write_detections, write_shard
from torch import nn
from transformers import TrainingArguments

from farl_hf import FaRLImageProcessor
from farl_hf.conversion.clip_vocabulary import make_clip_tokenizer
from farl_hf.data.laion_face.shards import SKIP_REASONS, find_shards
from farl_hf.data.laion_face.stream import STATE_VERSION, PretrainingStream
from farl_hf.data.samples.pretraining_samples import PretrainingTransform, pretraining_collate
from farl_hf.errors import InvalidArgumentError, NotACheckpointError
from farl_hf.training.pretraining.trainer import StreamTrainer


class Brightness(nn.Module):
    """Learns the mean of the pixels, and remembers which captions it has seen."""

    def __init__(self):
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(1))
        self.seen, self.draws = [], []

    def forward(self, pixel_values, input_ids, attention_mask):
        self.seen.append(input_ids.tolist())
        self.draws.append(torch.rand(1).item())  # as dropout would
        return {"loss": (pixel_values.mean() - self.mean).square().sum()}


class ToyTrainer(StreamTrainer):
    pass


@pytest.fixture
def make_trainer(tmp_path):
    for shard in range(4):
        write_shard(tmp_path / "data", shard, 5, changes={shard: {"txt": None}})
    write_detections(tmp_path / "data", range(4), 5)
    shards = find_shards(tmp_path / "data", cache_dir=tmp_path / "cache")

    def make(shards=shards, **settings):
        processor = FaRLImageProcessor(size={"height": 16, "width": 16})
        stream = PretrainingStream(shards, PretrainingTransform(processor, make_clip_tokenizer()), window_size=8)
        args = TrainingArguments(
            output_dir=str(tmp_path / "run"), use_cpu=True, max_steps=8, save_steps=3, logging_steps=1,
            per_device_train_batch_size=2, gradient_accumulation_steps=2, report_to=[], disable_tqdm=True,
            remove_unused_columns=False, dataloader_pin_memory=False, **settings,
        )  # fmt: skip
        return ToyTrainer(Brightness(), args, train_dataset=stream, data_collator=pretraining_collate)

    return make


def test_other_loader_workers_go_on_and_the_epoch_counts_passes(tmp_path, make_trainer):
    whole = make_trainer()
    whole.train()
    # 16 of 20 samples are sound; 32 samples are two passes.
    epochs = [entry["epoch"] for entry in whole.state.log_history if "loss" in entry]
    assert epochs == sorted(epochs)
    assert 2 - 4 / 20 <= epochs[-1] <= 2  # the four without a caption are passed before or after the last sound one
    resumed = make_trainer(dataloader_num_workers=2)
    resumed.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-3"))
    assert resumed.progress.num_samples == whole.progress.num_samples == 32

    def captions(batches):
        return [tuple(caption) for batch in batches for caption in batch]

    seen = Counter(captions(whole.model.seen[:6]) + captions(resumed.model.seen))
    assert set(seen.values()) == {2}


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_stopped_training_goes_on_with_the_next_sample(tmp_path, make_trainer, num_workers):
    whole = make_trainer(dataloader_num_workers=num_workers)
    whole.train()
    assert len(whole.model.seen) == 16
    resumed = make_trainer(dataloader_num_workers=num_workers)
    resumed.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-3"))
    assert resumed.model.seen == whole.model.seen[6:]
    assert resumed.model.draws == whole.model.draws[6:]
    assert torch.equal(resumed.model.mean, whole.model.mean)
    assert resumed.progress.state_dict() == whole.progress.state_dict()
    assert [entry["loss"] for entry in resumed.state.log_history if "loss" in entry] == [
        entry["loss"] for entry in whole.state.log_history if "loss" in entry
    ]


def test_the_log_says_what_was_skipped(make_trainer):
    trainer = make_trainer()
    trainer.train()
    counts = [entry.get("skipped/missing_caption", 0) for entry in trainer.state.log_history if "loss" in entry]
    # 32 samples of 16 sound ones and 4 without a caption: two passes.
    assert counts == sorted(counts)
    assert 4 <= counts[-1] <= 8
    assert trainer.state.log_history[7]["skipped"] == counts[-1]
    assert "skipped/unreadable_image" not in trainer.state.log_history[7]


def test_states_of_other_reasons_have_another_number():
    """The counts of a state have no names: whoever changes the reasons raises `STATE_VERSION`, and then this line."""
    digest = hashlib.sha256(",".join(SKIP_REASONS).encode()).hexdigest()[:8]
    assert (STATE_VERSION, digest) == (3, "353e0d30")


def test_a_checkpoint_without_the_place_in_the_stream_is_refused(tmp_path, make_trainer):
    make_trainer().train()
    checkpoint = tmp_path / "run" / "checkpoint-3"
    state = json.loads(Path(checkpoint, "stream_state_0.json").read_text())
    assert state["readers"]["0"][2] == 12
    unnumbered = {name: value for name, value in state.items() if name != "version"}
    # Version 2 counted one reason less, so that its numbers would be read as those of other reasons and places.
    for older in (unnumbered, state | {"version": 2}):
        Path(checkpoint, "stream_state_0.json").write_text(json.dumps(older))
        with pytest.raises(InvalidArgumentError, match="another version"):
            make_trainer().train(resume_from_checkpoint=str(checkpoint))
    Path(checkpoint, "stream_state_0.json").unlink()
    with pytest.raises(NotACheckpointError, match="stream_state_0"):
        make_trainer().train(resume_from_checkpoint=str(checkpoint))
