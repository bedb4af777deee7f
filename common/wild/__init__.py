"""From a video or a keypoint file to 3D: 2D inputs, tracking, sequences of any length, and files that others read."""
