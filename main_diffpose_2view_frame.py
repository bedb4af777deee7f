r"""Binocular 3D human pose with Dual-Diffusion. Needs no GPU; see docs/dual_diffusion.md.

    python main_diffpose_2view_frame.py --train --config mhad_2view_diffpose_uvxyz_rsb152.yml --batch_size 1024 \
        --model_diff_path checkpoints/ckpt_mhad_rsb152.pth --doc NAME --exp exp --ni
    python main_diffpose_2view_frame.py --config mhad_2view_diffpose_uvxyz_rsb152.yml --batch_size 1024 \
        --model_diff_path checkpoints/ckpt_mhad_rsb152.pth --doc NAME --exp exp --ni --test_timesteps 1
    python main_diffpose_2view_frame.py --demo
"""

from common.programs.two_view import main

if __name__ == "__main__":
    raise SystemExit(main(description=__doc__.splitlines()[0]))
