"""Lift Human3.6M, ground-truth 2D.

python main_gt.py -c checkpoint/NAME -gpu 0
python main_gt.py -c checkpoint/NAME -gpu 0 --evaluate best_epoch_1_1.bin -num_proposals 20 -sampling_timesteps 10
"""

from common.programs.main import main

if __name__ == "__main__":
    raise SystemExit(main("h36m_gt", __doc__))
