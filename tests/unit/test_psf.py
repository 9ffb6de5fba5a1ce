"""Point spread functions against numpy: every tilt's plane of components, one by one."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch

from isonet2.errors import UserError
from isonet2.io.star import TomogramRow, write_star
from isonet2.job.tools import Psf
from isonet2.physics.ctf import ctf
from isonet2.stages.psf import psf


@pytest.fixture(autouse=True)
def _in_an_empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def slow_region(side: int, low: float, high: float) -> np.ndarray:
    """bool (side, side, side), side odd, zero frequency in the middle: an angle for each component."""
    region = np.zeros((side,) * 3, bool)
    for place in np.ndindex(region.shape):
        kz, ky, kx = (n - side // 2 for n in place)
        if kx != 0:
            region[place] = low <= np.degrees(np.arctan(kz / kx)) <= high
        else:
            region[place] = kz == 0
        region[place] &= kz**2 + ky**2 + kx**2 <= (side / 2) ** 2
    return region


def test_the_psf_is_the_transform_of_the_measured_region_around_the_middle() -> None:
    side = 15
    (path,) = psf(Psf(cube_size=side, tilt_min=-51, tilt_max=60, pixel_size=7.5))
    assert path == Path("psf/tilts_-51_60_psf.mrc")
    region = slow_region(side, -51, 60)
    expected = np.fft.fftshift(np.fft.ifftn(np.fft.ifftshift(region)).real)
    with mrcfile.open(path) as mrc:
        np.testing.assert_allclose(mrc.data, expected, atol=1e-6)
        assert mrc.voxel_size.x == pytest.approx(7.5)
        assert np.unravel_index(mrc.data.argmax(), mrc.data.shape) == (7, 7, 7)
        assert mrc.data.max() == pytest.approx(region.mean())  # a bright point, of which the measured share is left


def test_the_filter_itself_has_its_zero_in_the_middle_and_both_halves() -> None:
    for side in (15, 16):
        _, path = psf(Psf(cube_size=side, tilt_min=-40, tilt_max=60, fourier=True))
        found = mrcfile.read(path)
        region = slow_region(15, -40, 60)
        inner = found if side == 15 else found[1:, 1:, 1:]
        assert found[(side // 2,) * 3] == 1
        np.testing.assert_array_equal(inner, inner[::-1, ::-1, ::-1])  # the same at k and −k
        if side == 15:
            np.testing.assert_array_equal(found, region)


def test_with_the_ctf_it_is_the_product_that_is_transformed() -> None:
    options = {"cube_size": 16, "with_ctf": True, "defocus": 2e4, "pixel_size": 8, "voltage": 200, "cs": 2, "ac": 0.2}
    _, path = psf(Psf(fourier=True, **options))
    plain = mrcfile.read(psf(Psf(cube_size=16, fourier=True, output_dir="plain"))[1])
    grid = np.meshgrid(*([np.arange(-8, 8) / 16 / 8] * 3), indexing="ij")
    k = torch.from_numpy(np.sqrt(sum(axis**2 for axis in grid)))
    transfer = ctf(k, defocus_angstrom=2e4, voltage_kv=200, cs_mm=2, amplitude_contrast=0.2).numpy()
    np.testing.assert_allclose(mrcfile.read(path), plain * transfer, atol=1e-5)


def row(index: int, name: str, **more: object) -> TomogramRow:
    told = {"tilt_min_deg": -60.0, "tilt_max_deg": 60.0, "pixel_size_angstrom": 10.0} | more
    return TomogramRow(index=index, tomogram=f"{name}.mrc", number_subtomos=1, **told)  # type: ignore[arg-type]


def test_each_tomogram_of_a_list_has_its_own() -> None:
    Path("gap.tlt").write_text("\n".join(str(tilt) for tilt in range(-60, 61, 3) if not 0 < tilt < 30))
    rows = [row(1, "a", tilt_min_deg=-30.0), row(2, "b", tilt_file="gap.tlt"), row(3, "c")]
    write_star(Path("tomograms.star"), rows)
    written = psf(Psf(star_file="tomograms.star", cube_size=16, output_dir="out"))
    assert [path.name for path in written] == ["a_psf.mrc", "b_psf.mrc", "c_psf.mrc"]
    peaks = [mrcfile.read(path).max() for path in written]
    assert max(peaks[:2]) < 0.9 * peaks[2]
    narrow = mrcfile.read(psf(Psf(tilt_min=-30, tilt_max=60, cube_size=16))[0])
    np.testing.assert_array_equal(mrcfile.read(written[0]), narrow)
    assert len(psf(Psf(star_file="tomograms.star", cube_size=16, tomo_idx="2-3"))) == 2


def test_a_ctf_without_a_defocus_is_refused() -> None:
    write_star(Path("tomograms.star"), [row(1, "a")])
    with pytest.raises(UserError, match=r"tomograms\.star: rlnDefocus of a is 0: set it"):
        psf(Psf(star_file="tomograms.star", with_ctf=True))
    with pytest.raises(UserError, match="--defocus is 0: set it"):
        psf(Psf(with_ctf=True))
