r"""Lift Human3.6M by Diff3DHPE, under its published name: main.py where -b counts windows.

python run_conditionalDiffusionDDIM3dhpeNormalDirectPredictVariableLoss.py --gpu_id 0 -c checkpoint/NAME \
    --config configs/h36m_cpn_s2s_ConditionalDiffusionMixSTES2SGRANDLinLift.json
"""

from common.programs.diff3dhpe import main

if __name__ == "__main__":
    raise SystemExit(main("h36m", __doc__))
