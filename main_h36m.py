"""Lift Human3.6M by Grap2Eq.

python main_h36m.py -k cpn_ft_h36m_dbb -c checkpoint/h36m -gpu 0 --nolog
python main_h36m.py -k cpn_ft_h36m_dbb -c checkpoint/h36m -gpu 0 --nolog --evaluate best_epoch_1_1.bin -num_proposals 20
"""

from common.programs.main import main

if __name__ == "__main__":
    raise SystemExit(main("h36m_grap2eq", __doc__))
