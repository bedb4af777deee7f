"""The measures of MPI-INF-3DHP (Mehta et al. 2017) on numpy arrays, as the benchmark's own script computes them.

For a set of valid frames: MPJPE over 17 joints, the pelvis's constant zero included; PCK as the share of errors
strictly below 150 mm, and AUC as its mean over the thresholds 0, 5, ..., 150 mm, both over 14 joints.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common.errors import UserError
from common.scoring.annotations import ACTIVITIES, GROUP_JOINTS, SKELETON, Annotation

PCK_THRESHOLD = 150.0
AUC_THRESHOLDS = np.arange(0.0, 151.0, 5.0)  # 31 values; no error is below 0, so the best AUC is 30/31
ROOT_TOLERANCE = 1e-3  # mm


@dataclass(frozen=True)
class Score:
    """Scores of a set of frames: mpjpe (18,) mm, 17 joints and Average; pck and auc (9,) %, 8 groups and Total."""

    frames: int
    mpjpe: np.ndarray
    pck: np.ndarray
    auc: np.ndarray


def joint_errors(predicted: np.ndarray, annotated: np.ndarray) -> np.ndarray:
    """Errors (n, 17) in mm of root-relative predictions (n, 17, 3) against absolute annotations (n, 17, 3).

    The annotation's pelvis is subtracted; the prediction is taken as it is, not centred again.
    """
    return np.linalg.norm(predicted - (annotated - annotated[:, SKELETON.root, None]), axis=-1)


def score_frames(errors: np.ndarray) -> Score:
    """Score errors (n, 17) in mm. Without frames every figure is NaN."""
    frames, joints = len(errors), [GROUP_JOINTS[group] for group in GROUP_JOINTS]
    if frames == 0:
        return Score(0, *(np.full(n, np.nan) for n in (errors.shape[1] + 1, len(joints) + 1, len(joints) + 1)))
    mpjpe = errors.mean(0)  # (17,)
    # Joints passing, counted as whole numbers: no rounding until the last division.
    passed = (errors < PCK_THRESHOLD).sum(0)  # (17,)
    steps = sum((errors < t).sum(0) for t in AUC_THRESHOLDS)  # (17,)
    joints.append(sum(joints, []))  # Total: all 14
    sizes = np.array([len(group) * frames for group in joints])
    pck = 100 * np.array([passed[group].sum() for group in joints]) / sizes  # (9,)
    auc = 100 * np.array([steps[group].sum() for group in joints]) / (sizes * len(AUC_THRESHOLDS))  # (9,)
    return Score(frames, np.append(mpjpe, mpjpe.mean()), pck, auc)


def valid_predictions(poses: np.ndarray, annotation: Annotation, layout: str, source: str) -> np.ndarray:
    """Check an export against its annotation and keep the valid frames: (3, 17, F, K) to (K, n, 17, 3).

    `layout` 'all' expects every frame of the video, 'valid' expects P-STMO's (3, 17, 1, n). Raises UserError for
    another number of frames, a pelvis that is not zero, and NaN on a valid frame; `source` names the file.
    """
    name, valid = annotation.sequence, int(annotation.valid.sum())
    frames, steps = poses.shape[2:]
    if layout == "valid":
        if (frames, steps) != (1, valid):
            raise UserError(
                f"{source}: {name} has shape {poses.shape}; --layout valid expects (3, 17, 1, {valid}), "
                f"one pose for each of the {valid} valid frames"
            )
        poses = poses.transpose(2, 3, 1, 0)  # (1, n, 17, 3)
    else:
        if frames != len(annotation):
            if valid in ((steps if frames == 1 else None), frames):
                raise UserError(
                    f"{source}: {name} holds the {valid} valid frames only, not the {len(annotation)} of the video; "
                    "score P-STMO's export (3, 17, 1, n) with --layout valid"
                )
            raise UserError(f"{source}: {name} has {frames} frames, its annotation has {len(annotation)}")
        poses = poses.transpose(3, 2, 1, 0)[:, annotation.valid]  # (K, n, 17, 3)
    bad = ~np.isfinite(poses).all((0, 2, 3))
    if bad.any():
        frame = np.flatnonzero(annotation.valid)[bad.argmax()]
        raise UserError(f"{source}: {name} is NaN or infinite on valid frame {frame} ({int(bad.sum())} such frames)")
    root = float(np.abs(poses[:, :, SKELETON.root]).max(initial=0.0))
    if root > ROOT_TOLERANCE:
        raise UserError(
            f"{source}: {name} has a pelvis {root:.3g} mm from zero; predictions must be relative to the pelvis"
        )
    return poses


def score_errors(errors: dict[str, np.ndarray], activities: dict[str, np.ndarray]) -> tuple[dict, dict]:
    """Scores by sequence and by activity ('All' last) from errors {TS1: (n, 17)} and activities {TS1: (n,)}, 1..7."""
    pooled, labels = np.concatenate(list(errors.values())), np.concatenate([activities[name] for name in errors])
    by_activity = {name: score_frames(pooled[labels == i + 1]) for i, name in enumerate(ACTIVITIES)}
    return {name: score_frames(e) for name, e in errors.items()}, by_activity | {"All": score_frames(pooled)}


def mean_of_sequences(scores: dict[str, Score]) -> Score:
    """The published headline: every sequence counts the same, whatever its length."""
    columns = ((s.mpjpe, s.pck, s.auc) for s in scores.values())
    return Score(sum(s.frames for s in scores.values()), *(np.mean(c, axis=0) for c in zip(*columns, strict=True)))
