"""Training of the task models: arguments, parameter groups, averaged weights, evaluation in the photo frame."""
