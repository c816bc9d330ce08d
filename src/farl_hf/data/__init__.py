"""From files to batches: data sets in one row shape, augmentation in the crop matrix, one resampling per face."""

from farl_hf.data.loading import load_face_dataset

__all__ = ["load_face_dataset"]
