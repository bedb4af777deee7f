"""From a video, or from 2D keypoints of any detector, to 3D poses, BVH, a viewer page and a video.

    python main_wild.py video.mp4
    python main_wild.py keypoints.json --video video.mp4 -c checkpoint/NAME --evaluate best_epoch_1_1.bin -o OUT

Without -c the small network in checkpoint/open lifts; docs/wild.md explains.
"""

from common.door import leave
from common.programs.wild import main

if __name__ == "__main__":
    leave(main(__doc__))
