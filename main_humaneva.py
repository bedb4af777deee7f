"""Lift HumanEva-I by Grap2Eq.

python main_humaneva.py -k gt -c checkpoint/humaneva_gt -a Walk,Jog -gpu 0 --nolog
python main_humaneva.py -k gt -c checkpoint/humaneva_gt -a Walk,Jog -gpu 0 --nolog --evaluate last.bin
"""

from common.programs.main import main

if __name__ == "__main__":
    raise SystemExit(main("humaneva", __doc__))
