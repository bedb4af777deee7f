"""Adapt a lifter from Human3.6M to MPI-INF-3DHP without 3DHP's 3D labels.

    python h36m_3dhp_transfer.py -k cpn_ft_h36m_dbb -num_proposals 3 -timestep 1000 -c checkpoint/ -gpu 0 --nolog
    python h36m_3dhp_transfer.py -num_proposals 3 -c checkpoint/ -gpu 0 --nolog --evaluate best_epoch.bin

Without a source lifter it trains one first; --source-only scores that alone. docs/adaptation.md explains.
"""

from common.programs.adaptation import main

if __name__ == "__main__":
    raise SystemExit(main("h36m_3dhp_transfer", __doc__))
