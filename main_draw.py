r"""Draw a clip of Human3.6M with its hypotheses (D3DP's program): a video below -c.

python main_draw.py -k cpn_ft_h36m_dbb -c checkpoint -gpu 0 --evaluate h36m_best_epoch.bin -num_proposals 5 \
    --render --viz-subject S11 --viz-action SittingDown --viz-camera 1
"""

from common.programs.main import main

if __name__ == "__main__":
    raise SystemExit(main("h36m", __doc__))
