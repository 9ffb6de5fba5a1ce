"""The pictures and movies for talks: true to the planes of the maps, and their scale bars to the voxels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from report_job import SHAPE, finished, smooth, write

from isonet2.io.star import read_star, update_row
from isonet2.parallel.world import World
from isonet2.report import comparison
from isonet2.report.comparison import frames
from isonet2.report.measures import round_length_nm
from isonet2.report.plots import slices_figure
from isonet2.stages import report

SCALE = 420 // 20  # pixels of a voxel: the longer side, x, has 420
WIDTH, TOP = 20 * SCALE, 26


def grey_of(frame: Image.Image, panel: int) -> np.ndarray:
    """What is drawn of a plane, (z, x), the first row at the bottom, one value a voxel."""
    left = panel * (WIDTH + 6)
    inside = frame.crop((left, TOP, left + WIDTH, frame.height))
    return np.asarray(inside.resize((SHAPE[2], SHAPE[0]), Image.Resampling.BOX))[::-1].astype(float)


def test_a_movie_shows_each_plane_of_both_maps_side_by_side_from_first_to_last() -> None:
    raw, corrected = smooth(1), smooth(2)
    made = list(frames({"raw": raw, "corrected": corrected}, pixel_size_angstrom=10.0))
    assert len(made) == SHAPE[1]
    for y in (0, 7, 23):
        for panel, volume in enumerate((raw, corrected)):
            upper = slice(8, None)  # above the scale bar
            drawn, plane = grey_of(made[y], panel)[upper], volume[upper, y]
            assert np.corrcoef(drawn.ravel(), plane.ravel())[0, 1] > 0.97


def test_a_long_movie_takes_planes_at_even_distances_and_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    volume = np.broadcast_to(np.arange(150, dtype=np.float32)[:, None], (8, 150, 8))
    said: list[str] = []
    drawn = comparison._frame
    monkeypatch.setattr(
        comparison, "_frame", lambda panels, place, *more: said.append(place) or drawn(panels, place, *more)
    )
    assert len(list(frames({"raw": volume}, pixel_size_angstrom=10.0))) == 50
    assert (said[0], said[1], said[-1]) == ("xz, y 2 of 150", "xz, y 5 of 150", "xz, y 149 of 150")


@pytest.mark.parametrize("pixel_size_angstrom", [1.35, 10.0, 17.1])
def test_the_scale_bar_of_a_movie_is_as_long_as_it_says(pixel_size_angstrom: float) -> None:
    black = np.zeros(SHAPE, np.float32)
    black[-1, :, :2] = (-1.0, 1.0)  # contrast, of which nothing is seen in the row of the bar
    (frame, *_) = frames({"raw": black}, pixel_size_angstrom=pixel_size_angstrom)
    row = np.asarray(frame)[frame.height - 14]
    length_nm = round_length_nm(SHAPE[2] * pixel_size_angstrom / 10)
    expected = length_nm * 10 / pixel_size_angstrom * WIDTH / SHAPE[2]
    assert abs(np.count_nonzero(row == 255) - expected) <= 1.5


@pytest.mark.parametrize("pixel_size_angstrom", [1.35, 10.0, 17.1])
def test_the_scale_bars_of_slices_are_as_long_as_they_say(
    pixel_size_angstrom: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = []
    monkeypatch.setattr("isonet2.report.plots.Figure.savefig", lambda figure, *_, **__: kept.append(figure))
    slices_figure(tmp_path / "p.png", {"raw": smooth(1)}, pixel_size_angstrom=pixel_size_angstrom, tilts_deg=(-60, 60))
    for axes in kept[0].axes[:3]:  # xy, xz, yz
        (bar,), (text,) = axes.lines, axes.texts
        start, end = bar.get_xdata()
        length_nm = float(text.get_text().removesuffix(" nm"))
        assert (end - start) * pixel_size_angstrom / 10 == pytest.approx(length_nm)
        assert SHAPE[2] / 10 <= end - start <= SHAPE[2] / 3 + 1e-6


def test_planes_of_slices_are_at_one_scale_and_the_lines_are_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = []
    monkeypatch.setattr("isonet2.report.plots.Figure.savefig", lambda figure, *_, **__: kept.append(figure))
    volume = np.zeros((30, 160, 100), np.float32)
    slices_figure(tmp_path / "p.png", {"raw": volume}, pixel_size_angstrom=10.0, tilts_deg=(-51, 60), title="TS_1")
    (figure,) = kept
    figure.canvas.draw()
    pixels = [axes.get_window_extent().width / np.ptp(axes.get_xlim()) for axes in figure.axes[:3]]
    assert pixels == pytest.approx([pixels[0]] * 3, rel=0.1)
    assert figure.axes[3].get_xlabel() == "lines: declared tilts −51° to 60°"
    assert figure.get_suptitle() == "TS_1"


def test_the_picture_has_a_row_for_the_deconvolved_map_if_there_is_one(tmp_path: Path) -> None:
    job = finished(tmp_path, report={"with_comparison": True, "comparison_dir": "talks"})
    heights = []
    for _ in range(2):
        outputs = report.run(job, World())["outputs"]
        assert {"talks/t1.png", "talks/t1.gif"} <= set(outputs)
        with Image.open(job.path("talks/t1.png")) as picture:
            heights.append(picture.height)
        write(tmp_path / "deconv/t1.mrc", smooth(9))
        update_row(tmp_path / "tomograms.star", 1, deconvolved="deconv/t1.mrc")
    assert read_star(tmp_path / "tomograms.star")[0].deconvolved
    assert heights[1] / heights[0] == pytest.approx(3 / 2, abs=0.1)
    with Image.open(job.path("talks/t1.gif")) as movie:
        assert (movie.n_frames, movie.info["loop"]) == (SHAPE[1], 0)


def test_nothing_is_compared_before_something_is_predicted(tmp_path: Path) -> None:
    job = finished(tmp_path, report={"with_comparison": True})
    job.path("out/corrected_t1.mrc").unlink()
    assert report.run(job, World())["outputs"] == ["report.html"]


def test_without_the_option_only_the_page_is_written(tmp_path: Path) -> None:
    job = finished(tmp_path, report={"with_comparison": False}, predict={"outputs": []})
    assert report.run(job, World())["outputs"] == ["report.html"]
    assert not job.path("comparison").exists()
