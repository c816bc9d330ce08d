"""Pre-training by image-text contrast and masked image modelling, and the objectives it is compared with."""
