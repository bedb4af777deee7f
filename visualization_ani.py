"""Animate a clip's reconstruction, its forward and its reverse process, as MP4 or GIF.

python visualization_ani.py -c checkpoint/NAME --evaluate best_epoch_1_1.bin -sviz S9 -a "Photo 1" -cam 1 -b 4
python visualization_ani.py -c checkpoint/NAME --evaluate best_epoch_1_1.bin --viz-video in.mp4 --viz-output viz.mp4
"""

from common.programs.visualise import main

if __name__ == "__main__":
    raise SystemExit(main("animation", __doc__))
