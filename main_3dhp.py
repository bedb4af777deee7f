"""Lift MPI-INF-3DHP and score it.

python main_3dhp.py -d 3dhp -c checkpoint/NAME -gpu 0 --nolog
python main_3dhp.py -c checkpoint/NAME -gpu 0 --nolog --evaluate best_epoch_1_1.bin -num_proposals 20
"""

from common.programs.main import main

if __name__ == "__main__":
    raise SystemExit(main("3dhp", __doc__))
