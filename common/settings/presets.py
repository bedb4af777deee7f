"""Presets: dictionaries of flag defaults. A script is a preset; so are `--demo` and a `--config` file."""

from __future__ import annotations

PRESETS: dict[str, dict[str, object]] = {
    "h36m": {"model": "graphdiffu", "checkpoint": "checkpoint/model_h36m"},
    "h36m_gt": {"model": "graphdiffu", "checkpoint": "checkpoint/model_h36m_gt", "keypoints": "gt", "epochs": 120},
    "in_the_wild": {
        "model": "mixste",
        "keypoints": "detectron_pt_coco",
        "checkpoint": "checkpoint/model_in_the_wild",
        "epochs": 400,
        "p2": True,
    },
    "3dhp": {
        "model": "graphdiffu",
        "dataset": "3dhp",
        "keypoints": "gt",
        "subjects_train": "*",
        "subjects_test": "*",
        "checkpoint": "checkpoint/model_3dhp",
        "epochs": 120,
    },
    "h36m_grap2eq": {
        "model": "grap2eq",
        "checkpoint": "checkpoint/model_h36m_grap2eq",
        "epochs": 60,
        "checkpoint_frequency": 1,
    },
    "humaneva": {
        "model": "grap2eq",
        "dataset": "humaneva15",
        "keypoints": "detectron_pt_coco",
        "subjects_train": "Train/S1,Train/S2,Train/S3",
        "subjects_test": "Validate/S1,Validate/S2,Validate/S3",
        "checkpoint": "checkpoint/model_humaneva",
        "number_of_frames": 27,
        "stride": 1,
        "epochs": 60,
        "checkpoint_frequency": 1,
        "tem_alpha": 0.25,
        "tem_beta": 1.0,
    },
}

# How the published programs of these presets learn, where it is not PUBLISHED of settings/recipe.py.
PUBLISHED_RECIPES: dict[str, dict[str, object]] = {
    "3dhp": {"learning_rate": 7e-5, "lr_decay": 0.995},
    "h36m_grap2eq": {"batch_size": 972},
    "humaneva": {"batch_size": 108},
}

# What `--demo` changes: small enough for a CPU, the same program.
DEMO: dict[str, object] = {
    "model": "mixste",  # of all models the one that learns most in a few minutes on a CPU
    "text": "learned",  # for --model graphdiffu and its kin: no CLIP needed
    "number_of_frames": 9,
    "channels": 64,
    "depth": 3,
    "batch_size": 144,
    "epochs": 4,
    "hypotheses": 5,
    "sampling_timesteps": 5,
    "p2": True,
    "nolog": True,
    "data_root": "data/demo",
    "checkpoint": "checkpoint/demo",
}
# What differs by data set.
DEMO_OF: dict[str, dict[str, object]] = {
    "h36m": {},
    "humaneva15": {
        "model": "grap2eq",
        "data_root": "data/demo_humaneva",
        "checkpoint": "checkpoint/demo_humaneva",
        "keypoints": "gt",
        "actions": "Walk,Jog",
        "stride": 4,
    },
    "3dhp": {
        "data_root": "data/demo_3dhp",
        "checkpoint": "checkpoint/demo_3dhp",
        "annotations": "data/demo_3dhp/3dhp_test",
        "p2": False,
    },
}
