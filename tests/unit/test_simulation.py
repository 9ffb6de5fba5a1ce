"""Phantoms and tilt series against integrals in closed form, and against a specimen rebuilt from its own table."""

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from isonet2.job.models import Simulate
from isonet2.simulation.phantom import SLAB, filtered_radially, make_phantom
from isonet2.simulation.shapes import SHAPES, particle, radius_angstrom
from isonet2.simulation.tilt_series import back_project, project, tilt_angles_deg, white_noise

SHAPE = (32, 40, 64)
CROWDED = Simulate(size=(40, 64, 72), pixel_size=15, particles=30, membranes=0)


@pytest.fixture(scope="module")
def crowded():
    return make_phantom(CROWDED, np.random.default_rng(5))


def gaussian_blob(shape, centre, sigma):
    z, y, x = np.ogrid[tuple(slice(side) for side in shape)]
    squared = (z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2
    return torch.from_numpy(np.exp(-squared / (2 * sigma**2)).astype(np.float32))


def tilt_of_each_component(shape):
    """atan(kz/kx) in degrees and |k| in cycles per voxel, of the half transform."""
    kz, ky, kx = np.meshgrid(
        np.fft.fftfreq(shape[0]), np.fft.fftfreq(shape[1]), np.fft.rfftfreq(shape[2]), indexing="ij"
    )
    return np.degrees(np.arctan2(np.where(kx == 0, np.abs(kz), kz), kx)), np.sqrt(kz**2 + ky**2 + kx**2)


def power(volume):
    return np.abs(np.fft.rfftn(volume.numpy())) ** 2


def test_tilts_run_from_the_first_to_the_last():
    assert tilt_angles_deg(-60, 60, 3).tolist() == list(range(-60, 61, 3))
    assert tilt_angles_deg(-51, 60, 3)[[0, -1]].tolist() == [-51, 60]
    assert tilt_angles_deg(0, 1, 0.1).size == 11
    assert tilt_angles_deg(-10, 11, 3)[-1] == 11


@pytest.mark.parametrize("tilt_deg", [-50.0, 0.0, 35.0])
def test_the_image_of_a_blob_is_its_line_integral(tilt_deg):
    z0, y0, x0, sigma, theta = 21.0, 18.0, 30.0, 2.0, np.radians(tilt_deg)
    series = project(gaussian_blob(SHAPE, (z0, y0, x0), sigma), np.array([tilt_deg]))
    image = torch.fft.irfft2(series[:, 0].T, s=SHAPE[1:]).numpy()
    # x' = x cos θ + z sin θ, and the image's columns are those of x' / cos θ; the axis goes through voxel 16 of z.
    along = np.arange(SHAPE[2]) * np.cos(theta) - (x0 * np.cos(theta) + (z0 - 16) * np.sin(theta))
    across = np.arange(SHAPE[1])[:, None] - y0
    expected = np.sqrt(2 * np.pi) * sigma * np.exp(-(along**2 + across**2) / (2 * sigma**2))
    np.testing.assert_allclose(image, expected, atol=1e-4 * expected.max())


def test_a_tilt_range_is_measured_with_its_sign():
    tilts = tilt_angles_deg(-30, 60, 3)
    noise = back_project(white_noise(SHAPE, tilts, 1.0, np.random.default_rng(0)), SHAPE, tilts, 3.0)
    phi, k = tilt_of_each_component(SHAPE)
    spectrum = power(noise)
    shell = (k > 0.15) & (k < 0.4)
    inside = spectrum[shell & (phi > -28) & (phi < 58)].mean()
    assert spectrum[shell & (phi > -58) & (phi < -34)].mean() < 0.05 * inside
    assert spectrum[shell & (np.abs(phi) > 64)].mean() < 0.02 * inside
    assert spectrum[shell & (phi > 34) & (phi < 58)].mean() == pytest.approx(inside, rel=0.15)


def test_an_image_holds_nothing_beyond_its_nyquist_frequency():
    tilts = tilt_angles_deg(-60, 60, 3)
    noise = back_project(white_noise(SHAPE, tilts, 1.0, np.random.default_rng(0)), SHAPE, tilts, 3.0)
    phi, s = (grid[:, 0] for grid in tilt_of_each_component(SHAPE))  # ky = 0
    measured, spectrum = np.abs(phi) < 55, power(noise)[:, 0]
    assert spectrum[measured & (s > 0.55)].mean() < 0.05 * spectrum[measured & (s > 0.4) & (s < 0.48)].mean()


def test_back_projection_returns_the_measured_part_of_the_truth_at_its_own_scale(crowded):
    truth, _ = crowded
    tilts = tilt_angles_deg(-60, 60, 2)
    back = back_project(project(truth, tilts), tuple(truth.shape), tilts, 2.0)
    phi, k = tilt_of_each_component(truth.shape)
    measured = (np.abs(phi) < 58) & (k > 0.02) & (k < 0.5)
    missing = (np.abs(phi) > 64) & (k > 0.02)
    a, b = (np.fft.rfftn(volume.numpy())[measured] for volume in (back, truth))
    cross, true_power = np.real(a * b.conj()).sum(), (np.abs(b) ** 2).sum()
    assert cross / np.sqrt(true_power * (np.abs(a) ** 2).sum()) > 0.97
    assert cross / true_power == pytest.approx(1, abs=0.03)
    assert power(back)[missing].mean() < 0.15 * power(truth)[missing].mean()
    assert float(back.mean()) == pytest.approx(float(truth.mean()), rel=1e-4)


def test_the_noise_of_an_image_is_white_with_the_asked_deviation():
    image = torch.fft.irfft2(white_noise(SHAPE, np.zeros(1), 3.0, np.random.default_rng(1))[:, 0].T, s=SHAPE[1:])
    assert float(image.std()) == pytest.approx(3, rel=0.05)
    rows = np.abs(np.fft.rfft2(image.numpy())) ** 2 / image.numel()
    assert rows[:, :16].mean() == pytest.approx(rows[:, 16:].mean(), rel=0.2)


def test_a_tilted_image_carries_as_much_noise_for_each_pixel_of_its_detector():
    tilts = np.array([0.0, 60.0])
    series = white_noise((32, 128, 128), tilts, 1.0, np.random.default_rng(2))
    # At 60° a period of the specimen is 64 pixels long, so a Fourier series' coefficient has twice the variance.
    flat, steep = (series[1:32].abs().square().mean(dim=(0, 2))).tolist()
    assert steep / flat == pytest.approx(2, rel=0.1)


def test_a_radial_filter_commutes_with_projection(crowded):
    def gain(k):
        return torch.cos(2000 * k.square()) * torch.exp(-100 * k.square())

    density = torch.nn.functional.pad(crowded[0], (0, 0, 0, 0, 40, 40))  # room for what the filter spreads along z
    _, height, width = density.shape
    pixel, tilts = 15.0, np.array([-40.0, 0.0, 25.0])
    filtered = project(filtered_radially(density, pixel, gain), tilts)
    s = np.fft.rfftfreq(width, pixel)[:, None] / np.cos(np.radians(tilts))
    of_image = gain(torch.from_numpy(np.hypot(s[..., None], np.fft.fftfreq(height, pixel)))).to(torch.complex64)
    difference = (filtered - project(density, tilts) * of_image).abs().square().sum() / filtered.abs().square().sum()
    assert float(difference) < 1e-4


def test_the_specimen_is_what_its_table_says(crowded):
    density, placed = crowded
    size = np.array(density.shape[::-1])
    rebuilt = np.zeros(density.shape)
    for item in placed:
        cloud = particle(item.kind)
        to_tomogram = Rotation.from_euler("ZYZ", item.angles_deg, degrees=True).inv()
        voxels = to_tomogram.apply(cloud[:, :3]) / CROWDED.pixel_size + item.centre
        x, y, z = (np.round(voxels).astype(int) % size).T
        np.add.at(rebuilt, (z, y, x), cloud[:, 3] / CROWDED.pixel_size**3)
        assert item.radius_angstrom == pytest.approx(radius_angstrom(cloud))
    assert float(density.double().sum()) == pytest.approx(rebuilt.sum(), rel=1e-4)
    low = np.exp(-((tilt_of_each_component(density.shape)[1] / 0.1) ** 2))
    smooth = [
        np.fft.irfftn(np.fft.rfftn(v) * low, s=density.shape, axes=(0, 1, 2)).ravel()
        for v in (density.numpy(), rebuilt)
    ]
    assert np.corrcoef(smooth)[0, 1] > 0.99


def test_particles_keep_apart_and_stay_in_the_ice(crowded):
    density, placed = crowded
    size = np.array(density.shape[::-1]) * CROWDED.pixel_size
    clouds = []
    for item in placed:
        turn = Rotation.from_euler("ZYZ", item.angles_deg, degrees=True).inv()
        points = turn.apply(particle(item.kind)[:, :3]) + np.array(item.centre) * CROWDED.pixel_size
        assert np.abs(points[:, 2] - size[2] / 2).max() < SLAB * size[2] / 2 + 10
        clouds.append(points % size)
    points, owner = np.vstack(clouds), np.repeat(np.arange(len(clouds)), [len(c) for c in clouds])
    pairs = cKDTree(points, boxsize=size).query_pairs(8.0, output_type="ndarray")
    assert len(placed) >= 25
    assert (owner[pairs[:, 0]] == owner[pairs[:, 1]]).all()


def test_orientations_are_even_over_all_rotations():
    _, placed = make_phantom(
        Simulate(size=(64, 128, 128), pixel_size=20, particles=150, membranes=0), np.random.default_rng(3)
    )
    turns = Rotation.from_euler("ZYZ", [p.angles_deg for p in placed if p.kind != "microtubule"], degrees=True)
    assert np.abs(turns.as_matrix().mean(axis=0)).max() < 4 / np.sqrt(3 * len(turns))  # 4 standard errors


def test_shares_of_the_shapes_add_up():
    _, placed = make_phantom(
        Simulate(size=(64, 128, 128), pixel_size=15, particles=40, membranes=1, gold=3), np.random.default_rng(4)
    )
    kinds = [item.kind for item in placed]
    assert {kind: kinds.count(kind) for kind in SHAPES} == {
        name: round(40 * share) for name, (_, share) in SHAPES.items()
    }
    assert kinds.count("gold") == 3
    assert kinds.count("vesicle") == 1


def test_a_vesicle_has_two_leaflets_40_angstrom_apart():
    density, (vesicle,) = make_phantom(
        Simulate(size=(96, 96, 96), pixel_size=5, particles=0, membranes=1), np.random.default_rng(0)
    )
    rolled = np.roll(density.numpy(), [48 - round(c) for c in vesicle.centre[::-1]], axis=(0, 1, 2))
    profile = rolled[48, 48, 48:]  # along x, from the inside out
    peaks = [i for i in range(1, 47) if profile[i] > max(profile[i - 1], profile[i + 1], 0.4)]
    assert len(peaks) == 2
    assert 35 < 5 * (peaks[1] - peaks[0]) < 60  # slanted where the vesicle is not cut through its poles


def test_gold_is_much_denser_than_protein():
    density, _ = make_phantom(Simulate(size=(32, 32, 32), pixel_size=10, particles=0, membranes=0, gold=1),
                              np.random.default_rng(0))  # fmt: skip
    assert 9 < float(density.max()) < 16
