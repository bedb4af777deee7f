"""Made people in motion, written in the layouts of the real data sets."""
