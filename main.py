"""Lift Human3.6M, detected 2D.

python main.py -c checkpoint/NAME -gpu 0
python main.py -c checkpoint/NAME -gpu 0 --evaluate best_epoch_1_1.bin -num_proposals 20 -sampling_timesteps 10
"""

from common.programs.main import main

if __name__ == "__main__":
    raise SystemExit(main("h36m", __doc__))
