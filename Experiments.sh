#!/usr/bin/env bash
# The training and evaluation command of every published row; the figures they stand beside are in docs/reproduce.md.
# Written by `python -m benchmarks.reproduce`: change benchmarks/reproduce.toml, not this file.
#
#   bash Experiments.sh RUN train|evaluate
#
# Some of these take days on several GPUs.
set -eu
case "${1:-} ${2:-}" in
  "d3dp-h36m-cpn train")
    python main.py --model mixste -k cpn_ft_h36m_dbb -c checkpoint/d3dp_h36m_cpn -gpu 0 --nolog -e 400 -lr 6e-5 -lrd 0.993 --as-published ;;
  "d3dp-h36m-cpn evaluate")
    python main.py -k cpn_ft_h36m_dbb -c checkpoint/d3dp_h36m_cpn -gpu 0 --nolog --evaluate best_epoch_1_1.bin --p2 -num_proposals 20 -sampling_timesteps 10 -b 4 --protocol published ;;
  "d3dp-h36m-gt train")
    python main.py --model mixste -k gt -c checkpoint/d3dp_h36m_gt -gpu 0 --nolog -e 400 -lr 6e-5 -lrd 0.993 --as-published ;;
  "d3dp-h36m-gt evaluate")
    python main.py -k gt -c checkpoint/d3dp_h36m_gt -gpu 0 --nolog --evaluate best_epoch_1_1.bin --p2 -num_proposals 20 -sampling_timesteps 10 -b 4 --protocol published ;;
  "d3dp-3dhp train")
    python main_3dhp.py --model mixste -c checkpoint/d3dp_3dhp -gpu 0 --nolog -e 400 -lr 6e-5 -lrd 0.993 --as-published ;;
  "d3dp-3dhp evaluate")
    python main_3dhp.py -c checkpoint/d3dp_3dhp -gpu 0 --nolog --evaluate best_epoch_1_1.bin -num_proposals 20 -sampling_timesteps 10 -b 4 --protocol published ;;
  "graphdiffu-h36m-cpn train")
    python main.py --model graphdiffu -d h36m -k cpn_ft_h36m_dbb -str S1,S5,S6,S7,S8 -ste S9,S11 -c checkpoint/model_h36m_cpn -gpu 0 -lrd 0.998 --nolog -e 100 --as-published ;;
  "graphdiffu-h36m-cpn evaluate")
    python main.py -d h36m -k cpn_ft_h36m_dbb -str S1,S5,S6,S7,S8 -ste S9,S11 -c checkpoint/model_h36m_cpn -gpu 0 --nolog --evaluate best_epoch_1_1.bin --p2 -sampling_timesteps 10 -num_proposals 20 -b 4 -s 243 -f 243 --protocol published ;;
  "graphdiffu-h36m-gt train")
    python main_gt.py --model graphdiffu -d h36m -k gt -str S1,S5,S6,S7,S8 -ste S9,S11 -c checkpoint/model_h36m_gt -gpu 0 --nolog -lrd 0.998 -e 120 --as-published ;;
  "graphdiffu-h36m-gt evaluate")
    python main_gt.py -d h36m -k gt -str S1,S5,S6,S7,S8 -ste S9,S11 -c checkpoint/model_h36m_gt -gpu 0 --nolog --evaluate best_epoch_1_1.bin --p2 -sampling_timesteps 10 -num_proposals 20 -b 4 -s 243 -f 243 --protocol published ;;
  "graphdiffu-3dhp train")
    python main_3dhp.py --model graphdiffu -d 3dhp -c checkpoint/mpi_1_lr7e-5_lrd0.995 -gpu 0,1 --nolog -lrd 0.995 -lr 0.00007 -e 120 --as-published ;;
  "graphdiffu-3dhp evaluate")
    python main_3dhp.py -d 3dhp -c checkpoint/mpi_1_lr7e-5_lrd0.995 -gpu 0,1 --nolog --evaluate best_epoch_1_1.bin -num_proposals 20 -sampling_timesteps 10 -b 4 --protocol published ;;
  "grap2eq-h36m-cpn train")
    python main_h36m.py -k cpn_ft_h36m_dbb -c checkpoint/h36m -gpu 0 --nolog --as-published ;;
  "grap2eq-h36m-cpn evaluate")
    python main_h36m.py -k cpn_ft_h36m_dbb -c checkpoint/h36m -gpu 0 --nolog --evaluate best_epoch_1_1.bin -num_proposals 20 -sampling_timesteps 10 --p2 -b 4 --protocol published ;;
  "grap2eq-h36m-gt train")
    python main_h36m.py -k gt -c checkpoint/h36m_gt -gpu 0 --nolog --as-published ;;
  "grap2eq-h36m-gt evaluate")
    python main_h36m.py -k gt -c checkpoint/h36m_gt -gpu 0 --nolog --evaluate best_epoch_1_1.bin -num_proposals 20 -sampling_timesteps 10 --p2 -b 4 --protocol published ;;
  "grap2eq-3dhp train")
    python main_3dhp.py --model grap2eq -c checkpoint/3dhp -gpu 0 --nolog -e 80 -lr 6e-5 -lrd 0.993 --as-published ;;
  "grap2eq-3dhp evaluate")
    python main_3dhp.py -c checkpoint/3dhp -gpu 0 --nolog --evaluate best_epoch_1_1.bin -num_proposals 20 -sampling_timesteps 10 -b 2 --protocol published ;;
  "grap2eq-humaneva-gt train")
    python main_humaneva.py -k gt -c checkpoint/humaneva_gt -a Walk,Jog -gpu 0 --nolog --as-published ;;
  "grap2eq-humaneva-gt evaluate")
    python main_humaneva.py -k gt -c checkpoint/humaneva_gt -a Walk,Jog -gpu 0 --nolog --evaluate best_epoch_1_1.bin --by-subject -num_proposals 20 -sampling_timesteps 10 --p2 --protocol published ;;
  "diff3dhpe-h36m-cpn-81 train")
    python main.py --config configs/h36m_cpn_s2s_ConditionalDiffusionMixSTES2SGRANDLinLift.json -c checkpoint/h36m/ConditionalDiffusionMixSTES2SGRANDLinLift/cpn/f81 -gpu 0 --nolog --sampling_timesteps 5 --as-published ;;
  "diff3dhpe-h36m-cpn-81 evaluate")
    python main.py --config configs/h36m_cpn_s2s_ConditionalDiffusionMixSTES2SGRANDLinLift.json -c checkpoint/h36m/ConditionalDiffusionMixSTES2SGRANDLinLift/cpn/f81 -gpu 0 --nolog --evaluate best_epoch.bin --sampling_timesteps 9 --protocol published ;;
  "diff3dhpe-h36m-cpn-243 train")
    python main.py --config configs/h36m_cpn_s2s_ConditionalDiffusionMixSTES2SGRANDLinLift.json -s 243 -f 243 -b 5832 --max_time 119.5 -c checkpoint/h36m/ConditionalDiffusionMixSTES2SGRANDLinLift/cpn/f243 -gpu 0 --nolog --sampling_timesteps 5 --as-published ;;
  "diff3dhpe-h36m-cpn-243 evaluate")
    python main.py --config configs/h36m_cpn_s2s_ConditionalDiffusionMixSTES2SGRANDLinLift.json -s 243 -f 243 -c checkpoint/h36m/ConditionalDiffusionMixSTES2SGRANDLinLift/cpn/f243 -gpu 0 --nolog --evaluate best_epoch.bin --sampling_timesteps 9 --protocol published ;;
  "diff3dhpe-h36m-gt-81 train")
    python main_gt.py --config configs/h36m_gt_s2s_ConditionalDiffusionMixSTES2SGRANDLinLift.json -s 81 -f 81 -b 5184 --max_time 61 -c checkpoint/h36m/ConditionalDiffusionMixSTES2SGRANDLinLift/gt/f81 -gpu 0 --nolog --sampling_timesteps 5 --as-published ;;
  "diff3dhpe-h36m-gt-81 evaluate")
    python main_gt.py --config configs/h36m_gt_s2s_ConditionalDiffusionMixSTES2SGRANDLinLift.json -s 81 -f 81 -c checkpoint/h36m/ConditionalDiffusionMixSTES2SGRANDLinLift/gt/f81 -gpu 0 --nolog --evaluate best_epoch.bin --sampling_timesteps 6 --protocol published ;;
  "diff3dhpe-h36m-gt-243 train")
    python main_gt.py --config configs/h36m_gt_s2s_ConditionalDiffusionMixSTES2SGRANDLinLift.json -c checkpoint/h36m/ConditionalDiffusionMixSTES2SGRANDLinLift/gt/f243 -gpu 0 --nolog --sampling_timesteps 5 --as-published ;;
  "diff3dhpe-h36m-gt-243 evaluate")
    python main_gt.py --config configs/h36m_gt_s2s_ConditionalDiffusionMixSTES2SGRANDLinLift.json -c checkpoint/h36m/ConditionalDiffusionMixSTES2SGRANDLinLift/gt/f243 -gpu 0 --nolog --evaluate best_epoch.bin --sampling_timesteps 6 --protocol published ;;
  "diff3dhpe-3dhp-27 train")
    python main_3dhp.py --config configs/3dhp_gt_s2s_ConditionalDiffusionMixSTES2SGRANDLinLift.json -c checkpoint/3dhp/ConditionalDiffusionMixSTES2SGRANDLinLift/gt/f27 -gpu 0 --nolog --sampling_timesteps 5 --as-published ;;
  "diff3dhpe-3dhp-27 evaluate")
    python main_3dhp.py --config configs/3dhp_gt_s2s_ConditionalDiffusionMixSTES2SGRANDLinLift.json -c checkpoint/3dhp/ConditionalDiffusionMixSTES2SGRANDLinLift/gt/f27 -gpu 0 --nolog --evaluate best_epoch.bin --sampling_timesteps 7 --protocol published ;;
  "dual-diffusion-h36m train")
    python main_diffpose_2view_frame.py --train --config h36m_2view_diffpose_uvxyz_rsb152.yml --batch_size 1024 --doc h36m_rsb152 --exp exp --ni ;;
  "dual-diffusion-h36m evaluate")
    python main_diffpose_2view_frame.py --config h36m_2view_diffpose_uvxyz_rsb152.yml --batch_size 1024 --model_diff_path checkpoints/ckpt_h36m_rsb152.pth --doc h36m_rsb152 --exp exp --ni --test_timesteps 1 --protocol published ;;
  "dual-diffusion-mhad train")
    python main_diffpose_2view_frame.py --train --config mhad_2view_diffpose_uvxyz_rsb152.yml --batch_size 1024 --doc mhad_rsb152 --exp exp --ni ;;
  "dual-diffusion-mhad evaluate")
    python main_diffpose_2view_frame.py --config mhad_2view_diffpose_uvxyz_rsb152.yml --batch_size 1024 --model_diff_path checkpoints/ckpt_mhad_rsb152.pth --doc mhad_rsb152 --exp exp --ni --test_timesteps 1 --protocol published ;;
  "dual-diffusion-h36m-outputs evaluate")
    python main_diffpose_2view_frame.py --rescore outputs ;;
  "dual-diffusion-mhad-outputs evaluate")
    python main_diffpose_2view_frame.py --rescore outputs ;;
  "posynda-h36m-to-3dhp train")
    python h36m_3dhp_transfer.py -k cpn_ft_h36m_dbb -num_proposals 3 -timestep 1000 -c checkpoint/ -gpu 0 --nolog ;;
  "posynda-h36m-to-3dhp evaluate")
    python h36m_3dhp_transfer.py -k cpn_ft_h36m_dbb -c checkpoint/ -gpu 0 --nolog --evaluate best_epoch.bin ;;
  "posynda-h36m train")
    python h36m_transfer.py -k cpn_ft_h36m_dbb -str S1 -ste S5,S6,S7,S8 -num_proposals 3 -timestep 1000 -c checkpoint/h36m_transfer -gpu 0 --nolog ;;
  "posynda-h36m evaluate")
    python h36m_transfer.py -k cpn_ft_h36m_dbb -str S1 -ste S5,S6,S7,S8 -c checkpoint/h36m_transfer -gpu 0 --nolog --evaluate best_epoch.bin ;;
  *)
    echo "usage: bash Experiments.sh RUN train|evaluate, where RUN is one of
  d3dp-h36m-cpn
  d3dp-h36m-gt
  d3dp-3dhp
  graphdiffu-h36m-cpn
  graphdiffu-h36m-gt
  graphdiffu-3dhp
  grap2eq-h36m-cpn
  grap2eq-h36m-gt
  grap2eq-3dhp
  grap2eq-humaneva-gt
  diff3dhpe-h36m-cpn-81
  diff3dhpe-h36m-cpn-243
  diff3dhpe-h36m-gt-81
  diff3dhpe-h36m-gt-243
  diff3dhpe-3dhp-27
  dual-diffusion-h36m
  dual-diffusion-mhad
  dual-diffusion-h36m-outputs
  dual-diffusion-mhad-outputs
  posynda-h36m-to-3dhp
  posynda-h36m" >&2
    exit 2 ;;
esac
