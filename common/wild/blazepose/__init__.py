"""People in 2D by BlazePose: a detector of people, one turned crop a person, landmarks in it, crops that follow.

Bazarevsky et al., BlazePose: On-device Real-time Body Pose tracking, arXiv 2006.10204; the detector is that of
BlazeFace, arXiv 1907.05047. Written from the papers and the networks' own numbers; the networks are Google's, under
the Apache licence 2.0 (`weights`).
"""
