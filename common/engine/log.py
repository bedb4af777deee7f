"""What a run tells: the text log beside its checkpoints, TensorBoard, notices."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from common.errors import visible
from common.files.writing import save_text


def say(line: str) -> None:
    """One line for the user, on stderr so that tables on stdout stay clean."""
    print(visible(line), file=sys.stderr, flush=True)


def epoch_line(row: dict) -> str:
    """A line of `training_log.txt`, in the published layout; millimetres and minutes."""
    valid = "" if row["valid_mm"] is None else f" 3d_pos_valid {row['valid_mm']:.3f}"
    return (
        f"[{row['epoch']}] time {row['minutes']:.2f} lr {row['lr']:.6g} "
        f"3d_train {row['train_mm']:.3f} 3d_pos_train {row['train_mm']:.3f}{valid}"
    )


def epoch_lines(history: list[dict]) -> list[str]:
    """The lines of `training_log.txt`: the epochs and the best one."""
    lines = [epoch_line(row) for row in history]
    scored = [row for row in history if row.get("valid_mm") is not None]
    if scored:
        best = min(scored, key=lambda row: row["valid_mm"])
        lines.append(f"best epoch {best['epoch']} 3d_pos_valid {best['valid_mm']:.3f}")
    return lines


def write_training_log(folder: Path, lines: list[str]) -> None:
    """Write the whole log anew: a resumed run leaves no line twice."""
    save_text(folder / "training_log.txt", "\n".join(lines) + "\n")


class Board:
    """TensorBoard under `-l`, or nothing at all with `--nolog`."""

    def __init__(self, folder: str | None, enabled: bool):
        self.writer = None
        if enabled:
            from torch.utils.tensorboard import SummaryWriter  # slow to import, and not needed with --nolog

            self.writer = SummaryWriter(str(Path(folder) / time.strftime("%Y-%m-%d_%H-%M-%S")))

    def epoch(self, row: dict) -> None:
        if not self.writer:
            return
        epoch = row["epoch"]
        named = {"train_mm": "Loss/3d training loss", "valid_mm": "Loss/3d validation loss"}
        for key, value in row.items():
            if key.endswith(("_mm", "_px", "loss")) and value is not None:
                self.writer.add_scalar(named.get(key, f"Loss/{key}"), value, epoch)
        self.writer.add_scalar("Parameters/learning rate", row["lr"], epoch)
        self.writer.add_scalar("Parameters/training time per epoch", row["minutes"], epoch)
        self.writer.flush()

    def picture(self, tag: str, make, epoch: int) -> None:
        """Add the image (H, W, 3) that `make()` draws."""
        if self.writer:
            self.writer.add_image(tag, make(), epoch, dataformats="HWC")

    def close(self) -> None:
        if self.writer:
            self.writer.close()
