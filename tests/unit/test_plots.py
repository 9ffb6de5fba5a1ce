from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from isonet2.physics.wedge import wedge_mask
from isonet2.report.images import contrast, figure_png, grey, grey_png, mask_png, shrunk, smaller_png
from isonet2.report.measures import (
    Mean,
    ShellCurve,
    middle,
    middle_planes,
    power_spectrum_xz,
    round_length_nm,
    shell_curves,
)
from isonet2.report.plots import epoch_figure, fsc_figure, loss_figure, slices_figure, wedge_border


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def decoded(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))


def test_contrast_is_the_percentiles_of_all_planes_and_ignores_what_is_no_number() -> None:
    a, b = np.arange(60, dtype=np.float32), np.arange(60, 101, dtype=np.float32)
    assert contrast(a, np.append(b, np.nan)) == pytest.approx((1.0, 99.0))


def test_grey_maps_the_limits_to_black_and_white_and_clips_beyond() -> None:
    assert grey(np.array([-5.0, 0.0, 1.0, 2.0, 9.0, np.nan]), 0.0, 2.0).tolist() == [0, 0, 128, 255, 255, 0]


def test_the_first_row_of_a_plane_is_at_the_bottom_of_its_picture() -> None:
    plane = np.zeros((3, 5), dtype=np.uint8)
    plane[0, 4] = 200
    picture = decoded(grey_png(plane))[..., 0]
    assert picture.shape == (3, 5)
    assert picture[2, 4] == 200
    assert picture.sum() == 200


def test_shrinking_averages_blocks_until_it_fits_and_leaves_small_images_alone() -> None:
    image = np.arange(7 * 12, dtype=np.float64).reshape(7, 12)
    small = shrunk(image, 4)
    assert small.shape == (2, 4)
    assert small[1, 2] == image[3:6, 6:9].mean()
    assert shrunk(image, 12) is image


def test_over_a_plane_a_mask_shows_its_border_and_darkens_what_is_outside() -> None:
    mask = np.zeros((10, 12), dtype=bool)
    mask[2:5, 3:] = True
    picture = decoded(mask_png(mask))[::-1]
    line = picture[..., 0] == 255
    rows, columns = np.nonzero(line)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (8, 19, 12, 47)  # four pixels for each voxel
    assert line.sum() == 12 * 36 - 8 * 34  # two pixels wide, but not along the edge of the plane
    assert set(picture[..., 3][~line].tolist()) == {0, 120}
    assert (picture[..., 3] == 0).sum() == 8 * 34
    assert picture[0, 0].tolist() == [0, 0, 0, 120]


def test_a_preview_made_smaller_keeps_its_few_coloured_pixels() -> None:
    picture = np.repeat(np.random.default_rng(0).integers(0, 255, (300, 400, 1), dtype=np.uint8), 3, axis=2)
    picture[100:104] = (217, 115, 13)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    small = decoded(smaller_png(buffer.getvalue(), 200)).astype(int)
    assert small.shape[:2] == (150, 200)
    assert np.abs(small[51, :, :3] - (217, 115, 13)).max() < 40


def test_middle_planes_have_the_axes_that_their_names_say() -> None:
    volume = noise(6, 8, 10)
    planes = middle_planes(volume)
    np.testing.assert_array_equal(planes["xy"], volume[3])
    np.testing.assert_array_equal(planes["xz"], volume[:, 4])
    np.testing.assert_array_equal(planes["yz"], volume[:, :, 5])


def test_the_mean_of_halves_is_made_piece_by_piece() -> None:
    a, b = noise(6, 8, 10, seed=1), noise(6, 8, 10, seed=2)
    np.testing.assert_allclose(middle(Mean((a, b)), 4), ((a + b) / 2)[1:5, 2:6, 3:7], rtol=1e-6)


@given(st.floats(0.5, 1e5))
def test_a_scale_bar_is_1_2_or_5_times_a_power_of_ten_and_between_a_tenth_and_a_third_of_the_width(
    width: float,
) -> None:
    length = round_length_nm(width)
    assert width / 10 <= length <= width / 3 * (1 + 1e-6)
    assert round(length / 10 ** math.floor(math.log10(length) + 1e-9), 6) in (1, 2, 5)


def test_a_wave_shows_in_the_spectrum_at_its_own_frequency() -> None:
    z, x = np.mgrid[:48, :64]
    wave = np.cos(2 * np.pi * (z * 6 / 48 + x * 16 / 64))
    spectrum = power_spectrum_xz(np.repeat(wave[:, None], 5, axis=1).astype(np.float32))
    assert {tuple(p) for p in np.argwhere(spectrum > spectrum.max() - 0.01)} == {(24 + 6, 32 + 16), (24 - 6, 32 - 16)}


@pytest.mark.parametrize("tilts_deg", [(-60.0, 60.0), (-66.0, 40.0)])
def test_the_borders_drawn_in_a_spectrum_are_the_ends_of_the_measured_region(tilts_deg: tuple[float, float]) -> None:
    """Noise is filtered with the wedge of physics/; just inside the line there is power, just outside none."""
    size = 96
    spectrum = torch.fft.rfftn(torch.from_numpy(noise(size, 16, size))) * wedge_mask((size, 16, size), *tilts_deg)
    picture = power_spectrum_xz(torch.fft.irfftn(spectrum, s=(size, 16, size)).numpy())
    for border, inwards in zip(tilts_deg, (5, -5), strict=True):
        powers = []
        for tilt_deg in (border + inwards, border - inwards):
            kx, kz = (round(0.8 * k * size) + size // 2 for k in wedge_border(tilt_deg))
            powers.append(picture[kz, kx])
        assert powers[0] > powers[1] + 2


def test_shell_curves_tell_the_measured_region_from_the_wedge() -> None:
    """Two maps share what was measured and nothing inside the wedge."""
    shape = (32, 40, 36)
    measured = wedge_mask(shape, -50.0, 60.0)
    a, b, shared = (torch.fft.rfftn(torch.from_numpy(noise(*shape, seed=seed))) for seed in range(3))
    maps = [torch.fft.irfftn(torch.where(measured, shared, own), s=shape).numpy() for own in (a, b)]
    curves = shell_curves(maps[0], maps[1], pixel_size_angstrom=8.0, tilts_deg=((-50.0, 60.0),))
    assert curves["measured"].frequency[-1] == pytest.approx(1 / 16)
    assert np.nanmean(curves["measured"].fsc[3:]) > 0.8
    assert abs(np.nanmean(curves["wedge"].fsc[3:])) < 0.3


def curve(*fsc: float) -> ShellCurve:
    return ShellCurve(np.arange(len(fsc)) / 100, np.array(fsc))


@pytest.mark.parametrize(
    ("fsc", "expected"),
    [
        ((1, 1, 0.8, 0.4, 0.0), 1 / 0.0275),  # halfway and a half again: 0.5 lies at three quarters of shell 2 → 3
        ((1, 0.9, 0.45, 0.9, 0.1, 0.1), 1 / 0.035),  # one shell alone below does not count
        ((1, 0.9, 0.8, 0.7), 100 / 3),  # never below: Nyquist
        ((1, 0.2, 0.1, 0.9), math.inf),  # below from the start
        ((math.nan, math.nan, 0.9, math.nan, 0.1, 0.0), 1 / 0.03),  # empty shells are passed over
        ((math.nan, math.nan), math.inf),
    ],
)
def test_resolution_is_where_two_shells_in_a_row_are_below_the_threshold(
    fsc: tuple[float, ...], expected: float
) -> None:
    assert curve(*fsc).resolution_angstrom(0.5) == pytest.approx(expected)


def test_the_loss_figure_draws_total_measured_and_wedge_part_of_each_epoch_on_axes_that_show_the_course() -> None:
    lines = [
        {"kind": "epoch", "epoch": n, "loss": 3.0 / n, "loss_measured": 2.0 / n, "loss_wedge": 1.0 / n}
        for n in (1, 2, 4)
    ]
    figure = loss_figure([*lines, {"kind": "preview", "epoch": 9, "loss": 99}])
    drawn = {axes.get_title(loc="left"): axes.lines[0].get_xydata().tolist() for axes in figure.axes}
    loss, noise, filling = drawn
    assert drawn[loss] == [[1, 3], [2, 1.5], [4, 0.75]]
    assert drawn[filling] == [[1, 1], [2, 0.5], [4, 0.25]]
    assert [loss.split(":")[0], noise.split(": ")[1], filling.split(": ")[1]] == ["loss", "noise removal", "filling it"]
    for axes, scale in zip(figure.axes, (3, 2, 1), strict=True):  # from the second epoch on, with a margin
        assert axes.get_ylim() == pytest.approx((scale * 0.225, scale * 0.525))


def test_the_loss_of_held_out_cubes_is_drawn_dashed_in_the_colours_of_that_of_the_others() -> None:
    keys = ("loss", "loss_measured", "loss_wedge")
    lines = [{"kind": "epoch", "epoch": n} | {f"{p}{k}": 1 / n for k in keys for p in ("", "val_")} for n in (1, 2)]
    figure = loss_figure(lines)
    for axes in figure.axes:
        solid, dashed = axes.lines
        assert (solid.get_linestyle(), dashed.get_linestyle()) == ("-", "--")
        assert solid.get_color() == dashed.get_color()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["training cubes", "held-out cubes"]


def test_the_loss_of_noise2noise_has_no_parts() -> None:
    lines = [{"kind": "epoch", "epoch": n, "loss": 1 / n, "loss_measured": 1 / n, "loss_wedge": 0.0} for n in (1, 2)]
    assert [axes.get_title(loc="left") for axes in loss_figure(lines).axes] == ["loss: what training makes small"]


def test_a_loss_that_is_no_number_is_left_out() -> None:
    lines = [{"kind": "epoch", "epoch": n, "loss": loss} for n, loss in ((1, 1.0), (2, math.nan), (3, 0.0))]
    axes = loss_figure(lines).axes[0]
    assert axes.lines[0].get_xydata().tolist() == [[1, 1], [3, 0]]


def test_the_fsc_axis_is_labelled_in_angstrom_up_to_nyquist() -> None:
    axes = fsc_figure([("raw", ShellCurve(np.linspace(0, 1 / 30, 20), np.linspace(1, 0, 20)), "red", "-")]).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["150", "75", "50", "37.5", "30"]


def test_a_plot_is_dark_on_a_transparent_ground_and_holds_its_highest_point() -> None:
    figure = epoch_figure([{"epoch": 1, "x": 1.0}, {"epoch": 2, "x": 2.0}], {"x": ("x", None)}, "x")
    picture = decoded(figure_png(figure, dpi=60))
    assert picture[0, 0, 3] == 0
    assert picture[picture[..., 3] > 200][:, :3].mean() < 150
    low, high = figure.axes[0].get_ylim()
    assert low == 0
    assert high > 2.0


def test_a_figure_of_slices_has_a_row_for_each_volume_and_in_the_spectra_the_border_of_the_wedge(
    tmp_path: Path,
) -> None:
    before, after = noise(12, 24, 24, seed=1), np.zeros((12, 24, 24), dtype=np.float32)
    both = {"before": before, "after": after}
    slices_figure(tmp_path / "p.png", both, pixel_size_angstrom=10, tilts_deg=(-60, 60), title="t1")
    assert [path.name for path in tmp_path.iterdir()] == ["p.png"]
    picture = decoded((tmp_path / "p.png").read_bytes())[..., :3].astype(int)
    height, width = picture.shape[:2]
    middles = (
        picture[row - 40 : row + 40, width // 6 - 60 : width // 6 + 60] for row in (height // 4, 3 * height // 4)
    )
    upper, lower = (patch.std() for patch in middles)
    assert upper > 25
    assert lower == 0
    orange = np.abs(picture - (217, 115, 13)).max(axis=2) < 30
    assert orange[:, 2 * width // 3 :].sum() > 200
    assert not orange[:, : 3 * width // 5].any()
