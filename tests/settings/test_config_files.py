"""Settings files: the three that are shipped, the mapping of every key, and what is refused."""

import json
from pathlib import Path

import pytest

from common.errors import UserError
from common.models import REGISTRY
from common.settings.config_files import JOINT_KEYS, KEYS, read_config
from common.settings.flags import parse
from common.settings.lifting import FLAGS

FOLDER = Path(__file__).parents[2] / "configs"
NETWORK = "ConditionalDiffusionMixSTES2SGRANDLinLift"
SHIPPED = [FOLDER / f"{data}_s2s_{NETWORK}.json" for data in ("h36m_cpn", "h36m_gt", "3dhp_gt")]
# The keys of the published files, which ours have too.
PUBLISHED_KEYS = {
    *("seed", "dataset", "keypoints", "out_all", "model", "subjects_train", "subjects_test", "actions", "epochs"),
    *("batch_size", "batch_size_eval", "learning_rate", "lr_decay", "patience", "max_time", "stride"),
    *("number_of_frames", "beta_schedule", "timesteps", "sampling_timesteps", "data_augmentation"),
    *("test_time_augmentation", "transformer_depth", "embed_dim", "with_time_emb", "clip_denoised"),
    "ddim_sampling_eta",
}
DESTINATIONS = {flag.destination for flag in FLAGS}


def write(tmp_path, **params):
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({"params": params}), encoding="utf-8")
    return path


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_files_have_the_published_keys(path):
    keys = set(json.loads(path.read_text(encoding="utf-8"))["params"])
    assert len(PUBLISHED_KEYS) == 27
    assert keys == PUBLISHED_KEYS | {"clip_loss", "ddim_coefficients"}
    assert keys == set(KEYS) | set(JOINT_KEYS)


def test_shipped_files_hold_what_was_run():
    cpn, gt, mpi = map(read_config, SHIPPED)
    for flags in (cpn, gt, mpi):
        assert flags["model"] == "diff3dhpe" and flags["model"] in REGISTRY
        assert (flags["learning_rate"], flags["lr_decay"], flags["epochs"], flags["patience"]) == (4e-4, 0.99, 200, 999)
        assert (flags["channels"], flags["depth"], flags["timesteps"], flags["clip_loss"]) == (512, 8, 1000, True)
        assert flags["no_data_augmentation"] is False and flags["ddim_coefficients"] == "published"
    columns = ("number_of_frames", "stride", "batch_size", "batch_size_eval", "sampling_timesteps", "time_emb")
    assert [cpn[c] for c in columns] == [81, 81, 64 * 81, 256, 9, True]
    assert [gt[c] for c in columns] == [243, 243, 24 * 243, 256, 6, True]
    assert [mpi[c] for c in columns] == [27, 27, 64 * 27, 512, 7, False]
    assert (cpn["keypoints"], gt["keypoints"], mpi["dataset"]) == ("cpn_ft_h36m_dbb", "gt", "3dhp")


def test_published_files_can_be_read(tmp_path):
    """A file of the published repository, as people have it: 27 keys, other values."""
    params = json.loads(SHIPPED[0].read_text(encoding="utf-8"))["params"]
    params = {key: params[key] for key in PUBLISHED_KEYS} | {"learning_rate": 4e-5, "sampling_timesteps": 20}
    flags = read_config(write(tmp_path, **params))
    assert (flags["learning_rate"], flags["sampling_timesteps"], "clip_loss" in flags) == (4e-5, 20, False)


def test_every_key_reaches_its_flag(tmp_path):
    """No two keys share a flag, and each value arrives."""
    values = {int: 3, float: 0.25, str: "word", bool: True}
    for key, (kind, destination, change) in KEYS.items():
        flags = read_config(write(tmp_path, **{key: values[kind]}))
        assert flags == {destination: change(values[kind])}
    assert len({destination for _, destination, _ in KEYS.values()}) == len(KEYS)
    assert read_config(write(tmp_path, data_augmentation=False)) == {"no_data_augmentation": True}


def test_middle_frame_model(tmp_path):
    assert read_config(write(tmp_path, out_all=False)) == {"model": "diff3dhpe_s2f"}
    name = "ConditionalDiffusionMixSTES2FGRANDLinLift"
    assert read_config(write(tmp_path, model=name, out_all=False)) == {"model": "diff3dhpe_s2f"}
    with pytest.raises(UserError, match="out_all"):
        read_config(write(tmp_path, model=name, out_all=True))
    with pytest.raises(UserError, match="out_all"):
        read_config(write(tmp_path, model=NETWORK, out_all=False))


@pytest.mark.parametrize(
    ("params", "word"),
    [
        ({"sampling_timestep": 9}, "unknown key sampling_timestep"),
        ({"epochs": 2.5}, "epochs must be a whole number"),
        ({"epochs": True}, "epochs must be a whole number"),
        ({"epochs": "200"}, "epochs must be a whole number"),
        ({"with_time_emb": "False"}, "with_time_emb must be true or false"),
        ({"learning_rate": None}, "learning_rate must be a number"),
        ({"keypoints": ["gt"]}, "keypoints must be a text"),
        ({"batch_size": 64}, "number_of_frames"),
    ],
)
def test_wrong_settings_are_named(tmp_path, params, word):
    with pytest.raises(UserError, match=word):
        read_config(write(tmp_path, **params))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"epochs": 3}', '{"params": 3}', '{"params": {}, "more": {}}'])
def test_wrong_files_are_told(tmp_path, text):
    path = tmp_path / "settings.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="settings.json"):
        read_config(path)
    with pytest.raises(UserError, match="nowhere.json"):
        read_config(tmp_path / "nowhere.json")


def test_a_typed_flag_wins(tmp_path):
    path = write(tmp_path, learning_rate=4e-4, epochs=200)
    values = parse(["--config", str(path), "-e", "7"], None, FLAGS, {"learning_rate": 1.0}, config=read_config).values
    assert (values["epochs"], values["learning_rate"]) == (7, 4e-4)


@pytest.mark.skipif("beta_schedule" not in DESTINATIONS, reason="the flags of Diff3DHPE are not in the table yet")
@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_every_flag_is_in_the_table(path):
    assert set(read_config(path)) <= DESTINATIONS
    values = parse(["--config", str(path), "-f", "9"], None, FLAGS, {}, config=read_config).values
    assert (values["number_of_frames"], values["beta_schedule"]) == (9, "cosine")


def test_conda_file():
    """Diff3DHPE.yml is a conda environment that installs requirements.txt."""
    yaml = pytest.importorskip("yaml")
    content = yaml.safe_load((FOLDER.parent / "Diff3DHPE.yml").read_text(encoding="utf-8"))
    assert content["name"] == "diff3DHPE" and {"pip": ["-r requirements.txt"]} in content["dependencies"]
