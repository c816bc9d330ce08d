"""From files to batches: data sets in one row shape, augmentation in the crop matrix, one resampling per face."""
