"""Draw the reverse process of a clip's frame as figures, SVG and PNG.

python visualization_fig.py -c checkpoint/NAME --evaluate best_epoch_1_1.bin -sviz S9 -a "Photo 1" -cam 1
python visualization_fig.py -c checkpoint/A -c checkpoint/B --evaluate last.bin -sviz S9 -a Walking,Eating --viz-frame 9
"""

from common.programs.visualise import main

if __name__ == "__main__":
    raise SystemExit(main("figure", __doc__))
