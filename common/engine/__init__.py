"""The loops, and what keeps them safe: training, evaluation, checkpoints, devices, logs."""
