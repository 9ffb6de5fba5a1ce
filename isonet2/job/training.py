"""The settings of training: what denoise and refine share, and what each has of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import model_validator

from isonet2.job.architectures import Architecture, NetworkShape, shape_of
from isonet2.job.option import Absent, FromText, Network, Numbers, Section, Whole, WithoutEffect, option

CtfMode = Annotated[Literal["phase_only", "wiener", "network"] | None, Absent]
OF_HALVES = ("n2n", "isonet2-n2n")
"""Methods that compare two halves."""
NETWORK_PARTS = ("channels", "convolutions", "block", "attention", "normalisation", "activation")
_NO_CTF = "no CTF is corrected in training: set CTF_mode"
_DECONVOLVES = "it shapes the Wiener filter: set CTF_mode to wiener, or with_deconv"


class Training(Section):
    """What every training of a network takes."""

    output_dir: str = option("isonet_maps", "folder for checkpoints, networks, metrics and previews",
                             aliases=("o", "outputdir"))  # fmt: skip
    arch: Architecture = option("unet-tiny", "the network; a larger one takes more time and memory")
    pretrained_model: Network | None = option(None, "network file to start from; its architecture is kept")
    freeze: Literal["encoder", "all_but_last"] | None = option(
        None, "what of a pretrained network stays as it is: the way down, or all but the last convolution"
    )
    cube_size: int = option(32, "side of a training cube; a multiple of the network's divisor", unit="voxels", ge=8)
    epochs: int = option(50, "passes over all cubes", ge=1, aliases=("iterations",))
    batch_size: Annotated[int | None, Absent] = option(
        None,
        "cubes in one optimizer step over all ranks; by default 2 for each rank, since one alone is slow on many CPUs",
        ge=1,
    )
    acc_batches: int = option(1, "split each batch into this many parts to save memory", ge=1)
    loss_func: Literal["L2", "L1", "Huber", "FSC"] = option(
        "L2", "what is minimised; FSC (1 − the mean shell correlation) leaves the scale of the result open"
    )
    optimizer: Literal["muon", "adamw"] = option(
        "muon", "muon moves the kernels between hidden channels by orthogonal updates, and the rest by AdamW"
    )
    learning_rate: float = option(1e-3, "highest learning rate, after warm-up", gt=0)
    learning_rate_min: float = option(1e-6, "learning rate at the end of the cosine", ge=0)
    warmup_steps: int = option(30, "optimizer steps from zero to the highest learning rate", ge=0)
    ema_decay: float = option(
        0.999,
        "how slowly the averaged network, which predicts, follows the trained one; after n steps at most (1+n)/(10+n)",
        ge=0,
        lt=1,
    )
    CTF_mode: CtfMode = option(
        None, "how the CTF is corrected: by the network, by a Wiener-filtered target, or only the phases (phase_only)"
    )
    clip_first_peak_mode: Annotated[Literal[0, 1, 2, 3], FromText] = option(
        0, "the CTF up to its first peak: 0 as it is, 1 constant, 2 raised by a negative sine, 3 by a cosine"
    )
    bfactor: float = option(0.0, "envelope of the CTF, which the network undoes: 200 to 500 sharpens", unit="Å²", ge=0)
    phaseflipped: bool = option(False, "the tomograms are phase-flipped already", aliases=("isCTFflipped",))
    do_phaseflip_input: bool = option(True, "flip the phases of tomograms that are not")
    snrfalloff: float = option(1.0, "how fast the signal-to-noise ratio of the Wiener filter falls", ge=0)
    deconvstrength: float = option(
        1.0, "strength of the Wiener filter: its highest signal-to-noise ratio is 10 to this"
    )
    highpassnyquist: float = option(0.02, "share of Nyquist below which the Wiener filter fades out", gt=0, le=1)
    with_mask: bool = option(False, "run make_mask before")
    mask_loss: bool = option(False, "weigh the error by the mask, voxel by voxel")
    split_halves: bool = option(
        False, "train two networks, each on one half of the specimen (along y), for independent half maps"
    )
    validation_share: float = option(
        0.05, "share of cubes that is never trained on and measures progress", ge=0, le=0.5
    )
    mixed_precision: bool = option(True, "half precision where the device is faster with it")
    save_interval: int = option(10, "epochs between saved networks and previews", ge=1)
    with_preview: bool = option(True, "predict the middle of one tomogram at each save_interval")
    with_predict: bool = option(False, "run predict with the trained network afterwards")
    prev_tomo_idx: int = option(1, "the tomogram of the previews (rlnIndex)", ge=1)
    checkpoint_minutes: float = option(10.0, "also save a checkpoint after this time within an epoch", unit="min", gt=0)
    keep_checkpoints: int = option(2, "how many of the latest checkpoints stay", ge=1)
    loader_workers: int | None = option(
        None, "loader processes for each rank; by default 4 with a GPU, else 0: read between the steps", ge=0,
        aliases=("ncpus",))  # fmt: skip
    adds_input: bool = option(False, "add the input to what the network makes of it, as IsoNet2's networks do")
    channels: Annotated[Whole | None, Absent] = option(
        None, "of a unet: channels of each level, as in 16,32,64,128; by default those of arch"
    )
    convolutions: Annotated[Whole | None, Absent] = option(
        None, "of a unet: 3³ convolutions in the stacks, a number for each level but the deepest or one for all"
    )
    block: Literal["plain", "residual"] | None = option(None, "of a unet: its block; by default that of arch")
    attention: bool | None = option(None, "of a unet: attention gates on the skips; by default as arch has it")
    normalisation: Literal["batch", "instance", "group", "none"] | None = option(
        None, "of a unet: normalisation layers; by default those of arch"
    )
    activation: Literal["leaky_relu", "relu", "gelu", "silu"] | None = option(
        None, "of a unet: activation; by default that of arch"
    )

    @property
    def flips_phases(self) -> bool:
        """Whether the network reads tomograms whose phases are flipped by us."""
        return self.CTF_mode is not None and self.do_phaseflip_input and not self.phaseflipped

    @property
    def shape(self) -> NetworkShape:
        """The network that is asked for; a pretrained one brings its own."""
        changes = {name: getattr(self, name) for name in ("adds_input", *NETWORK_PARTS)}
        return shape_of(self.arch, {name: value for name, value in changes.items() if value is not None})

    @model_validator(mode="after")
    def _consistent(self) -> Training:
        if idle := without_effect(self):
            raise WithoutEffect(idle)
        if self.pretrained_model is None and (why := misfit(self, self.shape, self.arch)):
            raise ValueError(why)
        if self.learning_rate_min > self.learning_rate:
            raise ValueError("learning_rate_min is above learning_rate")
        if self.batch_size is not None and self.acc_batches > self.batch_size:
            raise ValueError(f"acc_batches {self.acc_batches} cannot split a batch_size of {self.batch_size}")
        return self


def misfit(section: Training, shape: NetworkShape, name: str) -> str | None:
    """Why cubes of this section cannot go through a network of this shape, if so; `name` is what the user calls it."""
    divisor, cube_size = shape.divisor, section.cube_size
    if cube_size % divisor:
        lower = max(divisor, cube_size // divisor * divisor)
        return (
            f"cube_size {cube_size} does not fit {name}, which needs a multiple of {divisor}: "
            f"take {lower} or {lower + divisor}"
        )
    alone = section.batch_size is not None and section.batch_size // section.acc_batches < 2
    normalised = getattr(shape, "normalisation", None)
    if cube_size == divisor and (normalised == "instance" or (normalised == "batch" and alone)):
        return (
            f"cube_size {cube_size} leaves {name} one voxel at its deepest level, nothing to normalise: "
            f"take {2 * divisor}"
        )
    return None


class Denoise(Training):
    """Train a network to denoise by Noise2Noise, from two halves."""


class Refine(Training):
    """Train a network to fill the missing wedge and to denoise, from the tomograms alone."""

    method: Annotated[Literal["isonet2", "isonet2-n2n"] | None, Absent] = option(
        None, "isonet2-n2n learns from two halves, isonet2 from one map; by default what the STAR file has"
    )
    input_column: str | None = option(
        None, "column that isonet2 reads; by default rlnDeconvTomoName without CTF_mode, else rlnTomoName"
    )
    noise_level: Numbers = option(
        (0.0,), "noise added for isonet2, in standard deviations: a number, or a list", aliases=("noiselevel",)
    )
    noise_start_iter: Whole = option((1,), "epoch from which each noise_level holds", aliases=("noisestartiter",))
    noise_mode: Literal["nofilter", "ramp", "hamming"] = option(
        "nofilter", "spectrum of the added noise: white, or as back-projection with a ramp or Hamming filter shapes it"
    )
    mw_weight: float = option(
        2.0, "weight of what was measured inside the missing wedge; ≤ 0: IsoNet2's loss over all of Fourier space"
    )
    apply_mw_x1: bool = option(True, "apply the missing wedge to each cube before the network")
    random_rot_weight: float = option(0.0, "share of cubes turned to a random angle instead of by 90°", ge=0, le=1)
    with_deconv: bool = option(False, "run deconv and make_mask before, and learn from the deconvolved tomograms")

    @model_validator(mode="after")
    def _noise_consistent(self) -> Refine:
        if len(self.noise_level) != len(self.noise_start_iter):
            raise ValueError(
                f"noise_start_iter has {len(self.noise_start_iter)} values and noise_level {len(self.noise_level)}: "
                "give one start for each level"
            )
        if min(self.noise_level) < 0 or list(self.noise_start_iter) != sorted(set(self.noise_start_iter)):
            raise ValueError("noise_level must not be negative, and noise_start_iter has to rise")
        return self


_Rule = tuple[tuple[str, ...], Callable[[Any], bool], str]
_RULES: tuple[_Rule, ...] = (
    (("bfactor", "clip_first_peak_mode"), lambda s: s.CTF_mode not in ("network", "wiener"),
     "it shapes the CTF: set CTF_mode to network or wiener"),
    (("CTF_mode",), lambda s: s.CTF_mode == "phase_only" and not s.flips_phases and _method(s) in OF_HALVES,
     "phase_only flips phases and does nothing else, and here it flips none: take network or wiener, or leave it out"),
    (("phaseflipped",), lambda s: s.CTF_mode is None and not _is_on(s, "with_deconv"), _NO_CTF),
    (("do_phaseflip_input",), lambda s: s.CTF_mode is None, _NO_CTF),
    (("do_phaseflip_input",), lambda s: s.phaseflipped, "the tomograms are phase-flipped already"),
    (("with_deconv",), lambda s: s.CTF_mode is not None,
     "CTF_mode takes tomograms that are not deconvolved: leave out one of them; with_mask makes the masks"),
    (("with_deconv",), lambda s: getattr(s, "input_column", None) not in (None, "rlnDeconvTomoName"),
     "input_column names other maps: leave out one of them; with_mask makes the masks"),
    (("snrfalloff", "deconvstrength", "highpassnyquist"),
     lambda s: s.CTF_mode != "wiener" and not _is_on(s, "with_deconv"), _DECONVOLVES),
    (("freeze",), lambda s: s.pretrained_model is None, "there is no pretrained_model"),
    (("arch", "adds_input", *NETWORK_PARTS),
     lambda s: s.pretrained_model is not None, "a pretrained_model keeps its architecture"),
    (NETWORK_PARTS,
     lambda s: not s.arch.startswith("unet"), "it is a part of unet networks: choose one as arch"),
    (("prev_tomo_idx",), lambda s: not s.with_preview, "with_preview is off"),
    (("noise_level", "noise_start_iter", "noise_mode"), lambda s: _method(s) == "isonet2-n2n",
     "isonet2-n2n has the noise of the halves: choose method isonet2"),
    (("noise_start_iter", "noise_mode"), lambda s: not any(getattr(s, "noise_level", ())), "noise_level is 0"),
    (("input_column", "with_deconv"), lambda s: _method(s) == "isonet2-n2n",
     "isonet2-n2n reads the two halves: choose method isonet2"),
)  # fmt: skip


def without_effect(section: Training) -> dict[str, str]:
    """Settings that were changed and do nothing beside the others, each with the reason and the cure."""
    fields = type(section).model_fields
    return {
        name: reason
        for names, idle, reason in reversed(_RULES)
        if idle(section)
        for name in names
        if name in fields and getattr(section, name) != fields[name].default
    }


def _is_on(section: Training, name: str) -> bool:
    return bool(getattr(section, name, False))


def _method(section: Training) -> str | None:
    """The method, if it was named; that of a STAR file is not known here."""
    return section.method if isinstance(section, Refine) else "n2n"
