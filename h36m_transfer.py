"""Adapt a lifter from one person of Human3.6M (S1) to others (S5, S6, S7, S8) without their 3D labels.

    python h36m_transfer.py -k cpn_ft_h36m_dbb -num_proposals 3 -timestep 1000 -c checkpoint/ -gpu 0 --nolog
    python h36m_transfer.py -k cpn_ft_h36m_dbb -num_proposals 3 -c checkpoint/ -gpu 0 --nolog --evaluate best_epoch.bin

Without a source lifter it trains one first; --source-only scores that alone. docs/adaptation.md explains.
"""

from common.programs.adaptation import main

if __name__ == "__main__":
    raise SystemExit(main("h36m_transfer", __doc__))
