"""Settings of the two-view program: every key of its YAML files, its default and its meaning, as typed fields.

`model.hid_dim` of a file is `settings.model.hid_dim`. common/settings/two_view_files.py reads files and command lines.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass


@dataclass(frozen=True)
class Key:
    """A key: its default, its type (None in a value always means 'not given') and, if few, its choices."""

    default: object
    type: type
    help: str
    choices: tuple = ()


def key(default, kind: type, help: str, choices: tuple = ()):
    """A field that a file or a flag can set."""
    return field(default=default, metadata={"key": Key(default, kind, help, choices)})


@dataclass(frozen=True, kw_only=True)
class Data:
    """What is lifted, and how."""

    dataset: str = key("h36m_2view", str, "data set", ("h36m_2view", "h36m_3view", "h36m_4view", "mhad_2view"))
    root_relative: bool = key(True, bool, "the network sees poses relative to their triangulated root")
    legacy_skew: bool | None = key(
        None, bool, "leave a camera's skew unscaled by the resize; default: as model.variant"
    )
    weighted: bool = key(False, bool, "weigh the triangulation by the detections' confidence")
    downsample: int = key(1, int, "use every n-th frame")


@dataclass(frozen=True, kw_only=True)
class Side:
    """Files and people of one split."""

    labels_path: str | None = key(None, str, "label file")
    pred_2d_results_path: str | None = key(None, str, "2D estimates of these frames")
    pred_2d_error_dis_path: str | None = key(None, str, "detector statistics (common.binocular.noise)")
    subjects: list | None = key(None, list, "people, instead of the published split")
    groups: list | None = key(None, list, "camera rigs to keep (MHAD)")


@dataclass(frozen=True, kw_only=True)
class Files:
    """Files of both splits, and what of them is used."""

    image_shape: int = key(384, int, "side of the resized crop, pixels")
    num_views: int = key(2, int, "cameras")
    include_cameras: list | None = key(None, list, "which cameras, by position; default: the first")
    train: Side = Side()
    val: Side = Side()

    def side(self, name: str) -> Side:
        """The split called 'train' or 'val'."""
        return {"train": self.train, "val": self.val}[name]


@dataclass(frozen=True, kw_only=True)
class Network:
    """The network, stored with its weights."""

    hid_dim: int = key(96, int, "width of the network")
    num_layer: int = key(5, int, "layers")
    n_head: int = key(4, int, "attention heads")
    dropout: float = key(0.25, float, "dropout of the sublayers")
    action_emd: bool = key(False, bool, "feed the true action label to the network")
    depth_emd: bool = key(True, bool, "feed the root's depth to the network")
    depth_norm_by_bw: bool = key(False, bool, "scale depth by baseline / 400 mm before the network")
    variant: str = key("default", str, "what is computed", ("default", "published"))
    depth_axis: str | None = key(None, str, "what depth is; default: as model.variant", ("camera", "world_z"))
    ema: bool = key(True, bool, "keep a running mean of the weights, and evaluate it")
    ema_rate: float = key(0.999, float, "how much of the running mean stays at each step")


@dataclass(frozen=True, kw_only=True)
class Forward:
    """The forward process, stored with the weights."""

    beta_schedule: str = key("linear", str, "noise schedule", ("linear", "quad", "const", "jsd", "sigmoid"))
    beta_start: float = key(1e-4, float, "first beta")
    beta_end: float = key(1e-3, float, "last beta")
    num_diffusion_timesteps: int = key(76, int, "T, steps of the noise schedule")
    forward: str = key("published", str, "whether poses shrink as noise grows", ("published", "unshrunk"))


@dataclass(frozen=True, kw_only=True)
class Training:
    """Training."""

    batch_size: int = key(1024, int, "frames of a step")
    n_epochs: int = key(80, int, "passes over the data")
    loss_type: str = key("3dand2d", str, "which errors are minimised", ("2d", "3d", "3dand2d"))
    select: str = key("last", str, "what also picks a best epoch", ("last", "held", "test"))


@dataclass(frozen=True, kw_only=True)
class Optimiser:
    """The optimiser."""

    optimizer: str = key("Adam", str, "optimiser", ("Adam", "RMSProp", "SGD"))
    lr: float = key(1e-3, float, "learning rate")
    lr_gamma: float = key(0.9, float, "factor of the learning rate every `decay` epochs")
    decay: int = key(60, int, "epochs between factors")
    eps: float = key(1e-8, float, "Adam's epsilon")
    amsgrad: bool = key(False, bool, "Adam's amsgrad")
    grad_clip: float = key(1.0, float, "largest norm of the gradient")


@dataclass(frozen=True, kw_only=True)
class Testing:
    """Sampling and scoring."""

    batch_size: int = key(256, int, "frames evaluated at a time")
    test_times: int = key(1, int, "hypotheses")
    test_timesteps: int = key(1, int, "sampler steps")
    test_num_diffusion_timesteps: int = key(24, int, "N, of whose times the sampler visits some; at most T")
    skip_type: str = key("uniform", str, "which times", ("uniform", "quad", "end"))
    eta: float | None = key(None, float, "noise of the sampler; default: the mean deviation of the detector")
    hypothesis_agg: str = key("mean", str, "from hypotheses to one", ("mean", "pose_reproj", "joint_reproj"))
    debias: str = key("file", str, "subtract the detector's mean error", ("none", "file"))
    protocol: str = key("default", str, "how results are scored", ("default", "published"))


@dataclass(frozen=True, kw_only=True)
class TwoViewSettings:
    """All of it."""

    note: str | None = key(None, str, "a line that the program says at its start")
    data: Data = Data()
    dataset: Files = Files()
    model: Network = Network()
    diffusion: Forward = Forward()
    training: Training = Training()
    optim: Optimiser = Optimiser()
    testing: Testing = Testing()

    @classmethod
    def of(cls, values: Mapping[str, object]) -> TwoViewSettings:
        """The settings of values by dotted name; what is not there keeps its default."""
        return _build(cls, values, "")

    @property
    def values(self) -> dict[str, object]:
        """Every value by its dotted name."""
        return {name: _value(self, name) for name in KEYS}


def _build(cls: type, values: Mapping[str, object], prefix: str):
    found = {}
    for f in fields(cls):
        name = prefix + f.name
        if is_dataclass(f.default):
            found[f.name] = _build(type(f.default), values, name + ".")
        elif name in values:
            found[f.name] = values[name]
    return cls(**found)


def _keys(cls: type, prefix: str = "") -> dict[str, Key]:
    found: dict[str, Key] = {}
    for f in fields(cls):
        nested = is_dataclass(f.default)
        found |= _keys(type(f.default), f"{prefix}{f.name}.") if nested else {prefix + f.name: f.metadata["key"]}
    return found


def _value(settings, name: str):
    for part in name.split("."):
        settings = getattr(settings, part)
    return settings


KEYS: dict[str, Key] = _keys(TwoViewSettings)
# What the trained weights depend on: stored with them.
TRAINED = [k for k in KEYS if k.startswith(("model.", "diffusion.")) or k in ("data.root_relative", "data.legacy_skew")]
# Of these, what another start may change: how to train on, or which process to sample.
LOOSE = [k for k in TRAINED if k.startswith("diffusion.")] + ["model.dropout", "model.ema", "model.ema_rate"]
