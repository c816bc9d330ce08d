"""From rows to samples: one crop per face, its labels in the frame of the crop."""
