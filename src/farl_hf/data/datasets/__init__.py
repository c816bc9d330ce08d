"""The benchmarks: one builder per data set, and what they share."""
