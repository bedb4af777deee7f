"""Lift Human3.6M from COCO keypoints, as a detector gives them (D3DP's program). main_wild.py lifts your own video.

python main_in_the_wild.py -k detectron_pt_coco -c checkpoint/model_in_the_wild -gpu 0 --nolog
"""

from common.programs.main import main

if __name__ == "__main__":
    raise SystemExit(main("in_the_wild", __doc__))
