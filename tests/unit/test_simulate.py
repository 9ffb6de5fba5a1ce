"""The stage: what it writes, and that a tomogram depends on the seed and its number alone."""

import mrcfile
import numpy as np
import pytest
import starfile
import torch
from pydantic import ValidationError

from isonet2.errors import UserError
from isonet2.job.models import Job, Simulate
from isonet2.parallel.world import World
from isonet2.stages import simulate

SMALL = {"size": (32, 48, 40), "pixel_size": 20.0, "particles": 6, "membranes": 0, "tilt_step": 6.0}


def simulated(folder, seed=1, **settings):
    job = Job(seed=seed, simulate=Simulate(**{**SMALL, **settings})).in_folder(folder)
    return simulate.run(job, World()), folder / "simulated"


def volume(folder, kind, number=1):
    return mrcfile.read(folder / kind / f"tomo_{number:03d}.mrc")


def test_four_maps_and_a_table_come_out(tmp_path):
    facts, folder = simulated(tmp_path, count=2)
    for kind in ("even", "odd", "full", "truth"):
        with mrcfile.open(folder / kind / "tomo_002.mrc") as mrc:
            assert mrc.data.shape == (32, 48, 40)
            assert mrc.data.dtype == np.float32
            assert float(mrc.voxel_size.x) == pytest.approx(20)
    table = starfile.read(folder / "particles.star")
    assert (facts["tomograms"], facts["placed"]) == (2, [6, 6])
    assert len(facts["outputs"]) == 8
    assert all((folder.parent / output).is_file() for output in facts["outputs"])
    assert table["rlnTomoName"].value_counts().to_dict() == {"tomo_001": 6, "tomo_002": 6}
    assert table["rlnCoordinateX"].between(0, 40).all()
    assert table["rlnCoordinateZ"].between(0, 32).all()
    assert set(table["isonetShape"]) <= {"ribosome", "chaperonin", "microtubule", "filament", "cohesin", "complex"}


def test_full_is_the_mean_of_the_halves_and_the_specimen_is_dark(tmp_path):
    _, folder = simulated(tmp_path)
    even, odd, full, truth = (volume(folder, kind) for kind in ("even", "odd", "full", "truth"))
    np.testing.assert_allclose(full, (even + odd) / 2, atol=1e-5 * full.std())
    assert truth.min() < -0.5
    assert truth.max() < 0.05


def test_a_tomogram_depends_on_the_seed_and_its_number_alone(tmp_path):
    """To the bit; with other threads to rounding, since FFTs of some processors are split up among them."""
    _, one = simulated(tmp_path / "one", count=1)
    _, two = simulated(tmp_path / "two", count=2)
    threads = torch.get_num_threads()
    torch.set_num_threads(2 if threads == 1 else 1)
    _, other_threads = simulated(tmp_path / "other threads", count=1)
    torch.set_num_threads(threads)
    for kind in ("even", "odd", "full", "truth"):
        np.testing.assert_array_equal(volume(one, kind), volume(two, kind))
        np.testing.assert_allclose(volume(one, kind), volume(other_threads, kind), atol=1e-5)
        assert (volume(two, kind) != volume(two, kind, 2)).any()
    _, other = simulated(tmp_path / "other", seed=2)
    assert (volume(other, "truth") != volume(one, "truth")).any()


def test_the_specimen_is_the_same_whatever_the_microscope(tmp_path):
    _, one = simulated(tmp_path / "one")
    _, two = simulated(tmp_path / "two", tilt_min=-40, snr=3)
    np.testing.assert_array_equal(volume(one, "truth"), volume(two, "truth"))


@pytest.mark.parametrize("defocus", [None, 30000.0])
def test_snr_is_that_of_the_full_dose_image_at_0_degrees(tmp_path, defocus):
    _, folder = simulated(tmp_path, size=(32, 96, 96), tilt_min=0, tilt_max=1, tilt_step=3, snr=0.5, defocus=defocus)
    even, odd, truth = (volume(folder, kind).sum(axis=0) for kind in ("even", "odd", "truth"))
    noise_even, noise_odd = even - truth, odd - truth  # a single image comes back as it is, spread along the beam
    assert truth.var() / ((noise_even + noise_odd) / 2).var() == pytest.approx(0.5, rel=0.05)
    assert truth.var() / noise_even.var() == pytest.approx(0.25, rel=0.05)
    assert abs(np.corrcoef(noise_even.ravel(), noise_odd.ravel())[0, 1]) < 0.04


def test_the_truth_carries_the_ctf_of_the_images(tmp_path):
    _, folder = simulated(tmp_path / "ctf", defocus=20000)
    _, plain = simulated(tmp_path / "plain")
    z, y, x = (np.fft.fftfreq(side, 20.0) for side in SMALL["size"])
    k2 = z[:, None, None] ** 2 + y[:, None] ** 2 + x**2
    chi = np.pi * 0.019687 * 20000 * k2 - np.pi / 2 * 2.7e7 * 0.019687**3 * k2**2
    expected = np.fft.ifftn(
        np.fft.fftn(volume(plain, "truth")) * (0.1 * np.cos(chi) + np.sqrt(0.99) * np.sin(chi))
    ).real
    np.testing.assert_allclose(volume(folder, "truth"), expected, atol=1e-3 * expected.std())


def test_a_volume_too_small_for_any_particle_is_the_users_mistake(tmp_path):
    with pytest.raises(UserError, match=r"simulate\.size: none of 6 particles fits into 16×16×16 voxels of 3 Å"):
        simulated(tmp_path, size=(16, 16, 16), pixel_size=3.0)
    assert not list(tmp_path.rglob("*.mrc"))


def test_nothing_to_simulate_is_refused():
    with pytest.raises(ValidationError, match="nothing to simulate"):
        Simulate(particles=0, membranes=0)
