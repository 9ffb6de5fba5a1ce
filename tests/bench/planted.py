"""Small simulated tomograms, in memory, and the mistakes that are planted in them or in what is declared of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, rotate

from isonet2.io.star import PHASES_FLIPPED, TomogramRow
from isonet2.job.models import Simulate
from isonet2.physics.acquisition import Optics
from isonet2.physics.ctf import ctf, phase_flip_gain
from isonet2.physics.deconvolution import Wiener, wiener_gain
from isonet2.physics.fourier import filtered, frequencies, radial_gain
from isonet2.simulation.phantom import filtered_radially, make_phantom
from isonet2.simulation.tilt_series import back_project, project, tilt_angles_deg, white_noise

Array = NDArray[Any]


@dataclass(frozen=True)
class Sample:
    """Halves (or, without a second one, one map) and what is declared of them."""

    even: Array
    odd: Array | None
    truth: Array
    pixel: float = 10.0
    header_pixel: float = 10.0
    tilts: tuple[float, float] = (-60.0, 60.0)
    defocus: float = 0.0
    name: str = "tomo"
    extra: dict[str, Any] = field(default_factory=dict)

    def both(self, change: Callable[[Array], Array], **declared: Any) -> Sample:
        """The same change of both maps."""
        odd = None if self.odd is None else change(self.odd)
        return replace(self, even=change(self.even), odd=odd, **declared)

    def written(self, folder: Path, index: int = 1) -> TomogramRow:
        """Write the maps, and declare them."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for kind, volume in (("even", self.even), ("odd", self.odd)):
            if volume is not None:
                paths.append(folder / f"{self.name}_{kind}.mrc")
                with mrcfile.new(paths[-1], volume, overwrite=True) as file:
                    file.voxel_size = self.header_pixel
        halves = {"half1": str(paths[0]), "half2": str(paths[1])} if len(paths) > 1 else {"tomogram": str(paths[0])}
        return TomogramRow(
            index=index, **halves, pixel_size_angstrom=self.pixel, defocus_angstrom=self.defocus,
            tilt_min_deg=self.tilts[0], tilt_max_deg=self.tilts[1], number_subtomos=10, extra=self.extra,
        )  # fmt: skip


def sample(
    size: tuple[int, int, int] = (64, 128, 128),
    *,
    pixel: float = 10.0,
    tilts: tuple[float, float] = (-60.0, 60.0),
    step: float = 3.0,
    snr: float = 0.3,
    defocus: float | None = None,
    particles: int = 100,
    membranes: int = 2,
    gold: int = 0,
    seed: int = 0,
    name: str = "tomo",
) -> Sample:
    """As `isonet2 simulate` makes it, with everything declared as it is."""
    settings = Simulate(size=size, pixel_size=pixel, particles=particles, membranes=membranes, gold=gold)
    for_phantom, *for_halves = (np.random.default_rng(s) for s in np.random.SeedSequence([seed, 1]).spawn(3))
    truth = make_phantom(settings, for_phantom)[0].neg_()
    if defocus:
        transfer = partial(ctf, defocus_angstrom=defocus, voltage_kv=300.0, cs_mm=2.7, amplitude_contrast=0.1)
        truth = filtered_radially(truth, pixel, transfer)
    angles = tilt_angles_deg(*tilts, step)
    series = project(truth, angles)
    sigma = float(truth.numpy().sum(axis=0, dtype=np.float64).std()) * math.sqrt(2 / snr)
    even, odd = (
        back_project(series + white_noise(size, angles, sigma, rng), size, angles, step).numpy() for rng in for_halves
    )
    return Sample(even, odd, truth.numpy(), pixel, pixel, tilts, defocus or 0.0, name)


Mistake = Callable[[Sample], Sample]


def _optics(clean: Sample) -> Optics:
    return Optics(clean.pixel, clean.defocus, 300.0, 2.7, 0.1)


def _gained(gain: torch.Tensor, volume: Array) -> Array:
    return filtered(torch.from_numpy(volume.astype(np.float32)), gain).numpy()


def deconvolved(clean: Sample) -> Sample:
    """As `isonet2 deconv` would leave both halves."""
    gain = wiener_gain(clean.even.shape, _optics(clean), Wiener(0.5, 1.0, 0.02))
    return clean.both(partial(_gained, gain))


def phase_flipped(clean: Sample) -> Sample:
    """Multiplied by the sign of the CTF: nothing is wrong with that."""
    return clean.both(partial(_gained, phase_flip_gain(clean.even.shape, _optics(clean))))


def low_passed(clean: Sample, cut: float = 0.35, fall: float = 0.05) -> Sample:
    """IMOD's radial filter: 1 up to `cut` cycles per voxel, a Gaussian beyond."""
    gain = radial_gain(clean.even.shape, lambda k: torch.exp(-((k - cut).clamp(min=0) ** 2) / (2 * fall**2)))
    return clean.both(partial(_gained, gain))


def like_sirt(clean: Sample) -> Sample:
    """A weight that falls with the distance from the tilt axis, and tilts that fade towards the ends."""
    k = frequencies(clean.even.shape)
    radius = k.square().sum(-1).sqrt()
    tilt = torch.rad2deg(torch.atan2(k[..., 0].abs(), k[..., 2].abs()))
    gain = (1 / (1 + (radius / 0.12) ** 2) * (1 - 0.4 * (tilt / 60).clamp(max=1) ** 2)).float()
    return clean.both(partial(_gained, gain))


def dose_weighted(clean: Sample) -> Sample:
    """High tilts, taken last, lose their high frequencies."""
    k = frequencies(clean.even.shape)
    tilt = torch.rad2deg(torch.atan2(k[..., 0].abs(), k[..., 2].abs()))
    gain = torch.exp(-0.03 * tilt * k.square().sum(-1) * 2).float()
    return clean.both(partial(_gained, gain))


def in_int8(clean: Sample, sigmas: float = 6.0) -> Sample:
    """So many standard deviations fill the range."""

    def change(volume: Array) -> Array:
        scaled = (volume - volume.mean()) / volume.std() * 127 / sigmas
        return np.clip(np.round(scaled), -128, 127).astype(np.int8)

    return clean.both(change)


def _sloped(volume: Array) -> Array:
    z, _, x = volume.shape
    ramp = np.linspace(-1, 1, x, dtype=np.float32) + np.linspace(-1, 1, z, dtype=np.float32)[:, None, None]
    return volume + 1.5 * volume.std() * ramp


def _with(volume: Array, place: Any, value: float) -> Array:
    changed = volume.copy()
    changed[place] = value
    return changed


def _beads(volume: Array) -> Array:
    rng, changed = np.random.default_rng(5), np.zeros_like(volume)
    z, y, x = volume.shape
    for _ in range(12):
        changed[rng.integers(z // 3, 2 * z // 3), rng.integers(8, y - 8), rng.integers(8, x - 8)] = 1
    spots = gaussian_filter(changed, 2.0)
    return volume - spots / spots.max() * 25 * volume.std()


def _filled(clean: Sample) -> Sample:
    """The truth with noise in all directions: as after a correction."""
    rng = np.random.default_rng(7)

    def noisy() -> Array:
        return clean.truth + clean.truth.std() * rng.standard_normal(clean.truth.shape).astype(np.float32)

    return replace(clean, even=noisy(), odd=noisy())


def _denoised(clean: Sample) -> Sample:
    """What a network leaves: the mean, smoothed, and little of each half's own."""
    assert clean.odd is not None
    mean = (clean.even + clean.odd) / 2
    return clean.both(lambda half: gaussian_filter(mean + 0.03 * (half - mean), 0.7))


def _full_as_second(clean: Sample) -> Sample:
    assert clean.odd is not None
    return replace(clean, odd=(clean.even + clean.odd) / 2)


def _moved(clean: Sample) -> Sample:
    assert clean.odd is not None
    return replace(clean, odd=np.roll(clean.odd, (1, -4, 3), (0, 1, 2)))


CLEAN: dict[str, Mistake] = {
    "as it is": lambda s: replace(s, extra={PHASES_FLIPPED: "0"}),
    "phase-flipped": lambda s: replace(phase_flipped(s), extra={PHASES_FLIPPED: "1"}),
    "IMOD's radial filter": low_passed,
    "like SIRT": like_sirt,
    "dose-weighted": dose_weighted,
    "int8": in_int8,
    "int16": lambda s: s.both(lambda v: np.round(v / v.std() * 300).astype(np.int16)),
    "float16": lambda s: s.both(lambda v: v.astype(np.float16)),
    "ice gradient": lambda s: s.both(_sloped),
    "single map": lambda s: replace(s, even=(s.even + s.odd) / 2, odd=None),
    "header without pixel size": lambda s: replace(s, header_pixel=0.0),
    "cropped": lambda s: s.both(lambda v: np.ascontiguousarray(v[6:-6, 11:-20, 5:-25])),
    "other scale and offset": lambda s: s.both(lambda v: 1e4 + 250 * v / v.std()),
}
"""Changes that no one should be told of."""

MISTAKES: dict[str, tuple[Mistake, tuple[str, ...]]] = {
    "tilts declared too wide": (lambda s: replace(s, tilts=(s.tilts[0] - 15, s.tilts[1] + 15)), ("tilts",)),
    "tilts declared too narrow": (lambda s: replace(s, tilts=(s.tilts[0] + 15, s.tilts[1] - 15)), ("tilts",)),
    "one end 10° off": (lambda s: replace(s, tilts=(s.tilts[0], s.tilts[1] + 10)), ("tilts",)),
    "sign of the tilts": (lambda s: replace(s, tilts=(-s.tilts[1], -s.tilts[0])), ("tilts",)),
    "y and z exchanged": (lambda s: s.both(lambda v: np.ascontiguousarray(v.swapaxes(0, 1))), ("wedge",)),
    "tilt axis x": (lambda s: s.both(lambda v: np.ascontiguousarray(np.rot90(v, 1, (1, 2)))), ("wedge",)),
    "tilt axis 15° off y": (
        lambda s: s.both(lambda v: rotate(v, 15, (1, 2), reshape=False, mode="grid-wrap")), ("wedge",)
    ),
    "wedge already filled": (_filled, ("wedge",)),
    "pixel size twice the header's": (lambda s: replace(s, pixel=2 * s.pixel), ("pixel size",)),
    "defocus half of it": (lambda s: replace(s, defocus=s.defocus / 2), ("defocus",)),
    "defocus in µm": (lambda s: replace(s, defocus=s.defocus / 1e4), ("defocus",)),
    "defocus 1.6 times it": (lambda s: replace(s, defocus=s.defocus * 1.6), ("defocus",)),
    "deconvolved": (deconvolved, ("CTF", "noise")),
    "phases said to be flipped": (lambda s: replace(s, extra={PHASES_FLIPPED: "1"}), ("phases",)),
    "phases flipped, said not to be": (
        lambda s: replace(phase_flipped(s), extra={PHASES_FLIPPED: "0"}), ("phases",)
    ),
    "identical halves": (lambda s: replace(s, odd=s.even), ("halves",)),
    "halves of one scale apart": (lambda s: replace(s, odd=3 * s.even + 1), ("halves",)),
    "a half of something else": (lambda s: replace(s, odd=s.odd[::-1, ::-1].copy()), ("halves",)),
    "halves shifted": (_moved, ("halves",)),
    "one half inverted": (lambda s: replace(s, odd=-s.odd), ("halves",)),
    "second half is the whole": (_full_as_second, ("halves",)),
    "denoised halves": (_denoised, ("halves",)),
    "low-passed halves": (lambda s: s.both(lambda v: gaussian_filter(v, 2.0)), ("noise",)),
    "one half twice as strong": (lambda s: replace(s, odd=2 * s.odd), ("halves",)),
    "protein bright": (lambda s: s.both(np.negative), ("contrast",)),
    "NaN": (lambda s: s.both(lambda v: _with(v, (v.shape[0] // 2, 40, 40), np.nan)), ("files",)),
    "float16 overflow": (lambda s: s.both(lambda v: (v / v.std() * 2e4).astype(np.float16)), ("files",)),
    "clipped int8": (lambda s: in_int8(s, 2.5), ("values",)),
    "coarse int8": (lambda s: in_int8(s, 60), ("values",)),
    "coarse float16": (lambda s: s.both(lambda v: (1e4 + v / v.std() * 4).astype(np.float16)), ("values",)),
    "empty planes": (lambda s: s.both(lambda v: _with(v, slice(-6, None), 0)), ("planes",)),
    "padded borders": (lambda s: s.both(lambda v: _with(v, np.s_[:, :, -24:], 0)), ("padding",)),
    "three blank columns": (lambda s: s.both(lambda v: _with(v, np.s_[:, :, -3:], 0)), ("padding",)),
    "second half in another type": (lambda s: replace(s, odd=s.odd.astype(np.float16)), ("values",)),
    "bright edge": (lambda s: s.both(lambda v: _with(v, np.s_[:, :3], 4 * v.std())), ("edges", "padding")),
    "gold beads": (lambda s: s.both(_beads), ("beads",)),
    "halves of two shapes": (lambda s: replace(s, odd=s.odd[:, :-8]), ("files",)),
    "constant": (lambda s: s.both(np.zeros_like), ("files",)),
}  # fmt: skip
"""By name: what is done to a clean sample, and the subjects of which one has to be an error or a doubt."""
