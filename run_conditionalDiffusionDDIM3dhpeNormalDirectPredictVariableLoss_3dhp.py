r"""Lift MPI-INF-3DHP by Diff3DHPE, under its published name: main_3dhp.py where -b counts windows.

python run_conditionalDiffusionDDIM3dhpeNormalDirectPredictVariableLoss_3dhp.py --gpu_id 0 -c checkpoint/NAME \
    --config configs/3dhp_gt_s2s_ConditionalDiffusionMixSTES2SGRANDLinLift.json
"""

from common.programs.diff3dhpe import main

if __name__ == "__main__":
    raise SystemExit(main("3dhp", __doc__))
