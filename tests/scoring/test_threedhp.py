"""The scorer's command: what it prints, writes and refuses."""

import csv
import json

import numpy as np
import pytest
import scipy.io

from common.errors import UserError
from common.scoring.annotations import ACTIVITIES, missing_annotations, read_annotation
from common.scoring.export import read_predictions, write_predictions
from common.scoring.threedhp import main, score_folder

ROOT = 14


def run(folder, predictions, *flags):
    return main(["--predictions", str(predictions), "--annotations", str(folder), *flags])


def refused(capsys, folder, predictions, *flags):
    """The one line that the command is refused with."""
    assert run(folder, predictions, *flags) == 2
    lines = capsys.readouterr().err.split("\r")[-1].splitlines()  # what stands after the cleared progress bar
    assert len(lines) == 1
    assert not list(predictions.glob("*.csv"))
    return lines[0]


def test_annotation_is_read_in_its_order(annotations):
    folder, content = annotations
    for name, a in content.items():
        read = read_annotation(folder, name)
        np.testing.assert_array_equal(read.poses, a["poses"])
        np.testing.assert_array_equal(read.valid, a["valid"])
        np.testing.assert_array_equal(read.activity, a["activity"])
        np.testing.assert_array_equal(read_annotation(folder, name, "univ_annot3").poses, a["univ"])


def test_annotations_are_there_or_not(annotations):
    folder, _ = annotations
    assert missing_annotations(folder) == ""
    (folder / "TS4" / "annot_data.mat").unlink()
    assert missing_annotations(folder) == "TS4/annot_data.mat"
    assert missing_annotations(folder / "elsewhere") == "TS*/annot_data.mat"


@pytest.mark.parametrize("noise", [(20.0,), (60.0, 30.0, 15.0)])
def test_export_round_trip(tmp_path, export, noise):
    path = write_predictions(tmp_path, "P_Agg", export(noise))
    assert path.name == "inference_data_P_Agg.mat"
    read = read_predictions(path)
    for name, poses in export(noise).items():
        assert read[name].shape == poses.shape and read[name].dtype == np.float64
        np.testing.assert_array_equal(read[name], poses)
    assert [v[0] for v in scipy.io.whosmat(path)] == [f"TS{i}" for i in range(1, 7)]


def test_export_with_a_dropped_last_axis(tmp_path, export):
    poses = export((20.0,))
    scipy.io.savemat(tmp_path / "inference_data_P_Agg.mat", {name: p[..., 0] for name, p in poses.items()})
    read = read_predictions(tmp_path / "inference_data_P_Agg.mat")
    for name in poses:
        np.testing.assert_array_equal(read[name], poses[name])


def test_writing_refuses_a_pelvis_that_is_not_zero(tmp_path, export):
    poses = export((20.0,))
    poses["TS2"][0, ROOT, 0, 0] = 1.0
    with pytest.raises(ValueError, match="TS2"):
        write_predictions(tmp_path, "P_Agg", poses)


def test_perfect_predictions(annotations, tmp_path, export):
    write_predictions(tmp_path / "out", "P_Agg", export((0.0,)))
    report = score_folder(tmp_path / "out", annotations[0], progress=False)
    result = report["modes"]["P_Agg"]["t1"]
    for mean in (result["mean_over_sequences"], result["mean_over_frames"]):
        assert mean == pytest.approx({"mpjpe": 0, "pck": 100, "auc": 3000 / 31})


def test_known_errors_by_sequence_and_activity(annotations, tmp_path, export):
    """Every joint of a sequence is off by its own whole millimetres: rows, means and labels are all known."""
    folder, content = annotations
    poses, offsets = export((0.0,)), {name: 20.0 * (i + 1) for i, name in enumerate(content)}
    for name, offset in offsets.items():
        poses[name][1] += offset
        poses[name][:, ROOT] = 0
    write_predictions(tmp_path / "out", "J_Agg", poses)
    report = score_folder(tmp_path / "out", folder, progress=False)
    result = report["modes"]["J_Agg"]["t1"]
    counts = {name: int(a["valid"].sum()) for name, a in content.items()}
    for name, offset in offsets.items():
        row = result["sequences"][name]
        assert row["mpjpe_mm"]["Average"] == pytest.approx(offset * 16 / 17)
        assert row["mpjpe_mm"]["left_wrist"] == pytest.approx(offset) and row["mpjpe_mm"]["pelvis"] == 0
        assert row["auc_pct"]["Total"] == pytest.approx(100 * (30 - offset / 5) / 31)
        assert row["frames"] == counts[name]
    values = np.array(list(offsets.values())) * 16 / 17
    assert result["mean_over_sequences"]["mpjpe"] == pytest.approx(values.mean())
    frames = np.array(list(counts.values()))
    assert result["mean_over_frames"]["mpjpe"] == pytest.approx((values * frames).sum() / frames.sum())
    for i, activity in enumerate(ACTIVITIES):
        mine = [offsets[n] for n, a in content.items() for _ in range(((a["activity"] == i + 1) & a["valid"]).sum())]
        row = result["activities"][activity]
        assert row["frames"] == len(mine)
        expected = pytest.approx(np.mean(mine) * 16 / 17) if mine else None
        assert row["mpjpe_mm"]["Average"] == expected
    assert result["activities"]["Sports"]["frames"] == 0  # an empty activity


def test_each_step_is_scored_by_itself(annotations, tmp_path, export):
    write_predictions(tmp_path / "three", "P_Agg", export((60.0, 30.0, 15.0)))
    whole = score_folder(tmp_path / "three", annotations[0], progress=False)
    steps = whole["modes"]["P_Agg"]
    assert list(steps) == ["t1", "t2", "t3"] and whole["steps"] == {"P_Agg": 3}
    one = score_folder(tmp_path / "three", annotations[0], step=2, out=tmp_path / "one", progress=False)
    assert one["modes"]["P_Agg"] == {"t2": steps["t2"]}
    assert len(list((tmp_path / "one").glob("*.csv"))) == 2
    means = [steps[t]["mean_over_frames"]["mpjpe"] for t in steps]
    assert means[0] > means[1] > means[2]


def test_csv_layout(annotations, tmp_path, export):
    write_predictions(tmp_path / "out", "J_Best", export((20.0,)))
    report = score_folder(tmp_path / "out", annotations[0], progress=False)
    folder = tmp_path / "out"
    with (folder / "mpii_3dhp_evaluation_sequencewise_ori_J_Best_t1.csv").open(newline="") as stream:
        rows = list(csv.reader(stream))
    assert len(rows) == 22 and {len(row) for row in rows} == {19}
    assert rows[0] == [f"seq_table{i}" for i in range(1, 20)]
    assert rows[1][0] == "" and rows[1][1] == "head_top" and rows[1][-1] == "Average"
    assert [row[0] for row in rows[2:8]] == [f"TestSeq{i}" for i in range(1, 7)]
    assert rows[8] == ["PCK", "Head", "Neck", "Shou", "Elbow", "Wrist", "Hip", "Knee", "Ankle", "Total"] + [""] * 9
    assert rows[15][0] == "AUC" and rows[15][1:10] == rows[8][1:10]
    result = report["modes"]["J_Best"]["t1"]
    # The averages that people take by hand.
    for column, lines, name in ((18, slice(2, 8), "mpjpe"), (9, slice(9, 15), "pck"), (9, slice(16, 22), "auc")):
        mean = np.mean([float(row[column]) for row in rows[lines]])
        assert mean == pytest.approx(result["mean_over_sequences"][name], abs=1e-9)
    with (folder / "mpii_3dhp_evaluation_activitywise_ori_J_Best_t1.csv").open(newline="") as stream:
        rows = list(csv.reader(stream))
    assert len(rows) == 28 and {len(row) for row in rows} == {19} and rows[0][0] == "activity_table1"
    assert [row[0] for row in rows[2:10]] == [*ACTIVITIES, "All"]
    assert (rows[10][0], rows[19][0]) == ("PCK", "AUC") and rows[3][1] == "NaN"  # nobody exercises
    assert json.loads((folder / "3dhp_scores_annot3.json").read_text()) == report


def test_label_sets_are_told_apart(annotations, tmp_path, export, capsys):
    folder, _ = annotations
    write_predictions(tmp_path / "out", "P_Agg", export((0.0,)))
    assert run(folder, tmp_path / "out") == 0
    assert run(folder, tmp_path / "out", "--labels", "univ_annot3") == 0
    text = capsys.readouterr().out
    assert "labels annot3" in text and "labels univ_annot3" in text
    assert "mean of 6 sequences" in text and "mean over frames" in text
    assert (tmp_path / "out" / "mpii_3dhp_evaluation_sequencewise_univ_P_Agg_t1.csv").is_file()
    univ = json.loads((tmp_path / "out" / "3dhp_scores_univ_annot3.json").read_text())
    assert univ["labels"] == "univ_annot3"
    assert univ["modes"]["P_Agg"]["t1"]["mean_over_frames"]["mpjpe"] > 100  # a perfect annot3 pose is off here


def test_invalid_frames_do_not_count(annotations, tmp_path, export):
    folder, content = annotations
    poses = export((20.0,))
    write_predictions(tmp_path / "a", "P_Agg", poses)
    for name, a in content.items():
        poses[name][:, :, ~a["valid"]] = np.nan
        poses[name][:, ROOT] = 0
    write_predictions(tmp_path / "b", "P_Agg", poses)
    assert score_folder(tmp_path / "a", folder, progress=False) == score_folder(tmp_path / "b", folder, progress=False)


def test_nan_on_a_valid_frame_is_refused(annotations, tmp_path, export, capsys):
    folder, content = annotations
    poses = export((20.0, 10.0))
    frame = int(np.flatnonzero(content["TS4"]["valid"])[-1])
    poses["TS4"][2, 3, frame, 1] = np.nan
    write_predictions(tmp_path / "out", "P_Agg", poses)
    line = refused(capsys, folder, tmp_path / "out")
    assert "TS4" in line and "NaN" in line and f"valid frame {frame}" in line and "P_Agg" in line


def test_another_number_of_frames_is_refused(annotations, tmp_path, export, capsys):
    poses = export((20.0,))
    poses["TS3"] = np.concatenate([poses["TS3"], poses["TS3"]], 2)
    write_predictions(tmp_path / "out", "P_Agg", poses)
    line = refused(capsys, annotations[0], tmp_path / "out")
    assert "TS3 has 10 frames, its annotation has 5" in line


def test_a_pelvis_that_is_not_zero_is_refused(annotations, tmp_path, export, capsys):
    poses = export((20.0,))
    poses["TS1"][:, ROOT] = 3.0
    scipy.io.savemat(tmp_path / "inference_data_P_Agg.mat", poses)
    line = refused(capsys, annotations[0], tmp_path)
    assert "TS1" in line and "pelvis 3 mm from zero" in line


def valid_only(export, content):
    return {n: p[:, :, content[n]["valid"], 0][:, :, None] for n, p in export((20.0,)).items()}  # (3, 17, 1, n)


def test_a_valid_only_export_needs_its_layout(annotations, tmp_path, export, capsys):
    folder, content = annotations
    poses = valid_only(export, content)
    scipy.io.savemat(tmp_path / "inference_data.mat", poses)
    line = refused(capsys, folder, tmp_path)
    assert "--layout valid" in line and "inference_data.mat" in line
    renamed = tmp_path / "renamed"
    renamed.mkdir()
    scipy.io.savemat(renamed / "inference_data_P_Agg.mat", poses)
    line = refused(capsys, folder, renamed)
    assert "valid frames only" in line and "--layout valid" in line
    scipy.io.savemat(renamed / "inference_data_P_Agg.mat", {n: p[:, :, 0] for n, p in poses.items()})  # (3, 17, n)
    assert "--layout valid" in refused(capsys, folder, renamed)


def test_a_valid_only_export_scores_like_the_whole(annotations, tmp_path, export):
    folder, content = annotations
    scipy.io.savemat(tmp_path / "inference_data.mat", valid_only(export, content))
    part = score_folder(tmp_path, folder, layout="valid", progress=False)
    write_predictions(tmp_path / "whole", "P_Agg", export((20.0,)))
    whole = score_folder(tmp_path / "whole", folder, progress=False)
    assert part["modes"]["valid_only"] == whole["modes"]["P_Agg"]
    with pytest.raises(UserError, match="expects"):
        score_folder(tmp_path / "whole", folder, layout="valid", modes=["P_Agg"], progress=False)


def test_steps_that_are_not_there_are_refused(annotations, tmp_path, export, capsys):
    write_predictions(tmp_path / "out", "P_Agg", export((20.0, 10.0)))
    for step in ("0", "3"):
        assert "steps 1 to 2" in refused(capsys, annotations[0], tmp_path / "out", "--step", step)


def test_sequences_keep_their_names(annotations, tmp_path, export, capsys):
    folder, _ = annotations
    poses = export((20.0,))
    write_predictions(tmp_path / "out", "P_Agg", {name: poses[name] for name in ("TS5", "TS6")})
    assert "no sequence TS1" in refused(capsys, folder, tmp_path / "out")
    report = score_folder(tmp_path / "out", folder, sequences=["TS5", "TS6"], progress=False)
    assert list(report["annotations"]) == ["TS5", "TS6"]
    text = (tmp_path / "out" / "mpii_3dhp_evaluation_sequencewise_ori_P_Agg_t1.csv").read_text()
    assert [line.split(",")[0] for line in text.splitlines()[2:4]] == ["TestSeq5", "TestSeq6"]


def test_files_that_are_not_there_or_no_export(annotations, tmp_path, export, capsys):
    folder, _ = annotations
    (tmp_path / "empty").mkdir()
    assert "no inference_data_MODE.mat" in refused(capsys, folder, tmp_path / "empty")
    assert "inference_data_P_Best.mat: no such file" in refused(capsys, folder, tmp_path / "empty", "--mode", "P_Best")
    write_predictions(tmp_path / "out", "P_Agg", export((20.0,)))
    assert "TS1" in refused(capsys, tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "out" / "inference_data_P_Agg.mat").write_text("# Created by Octave 4.2.2\n# name: x\n")
    assert "not a readable MAT v5 file" in refused(capsys, folder, tmp_path / "out")
