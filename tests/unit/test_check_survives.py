"""check: whatever the files hold it ends with findings, of what the job reads, and claims no more than it knows."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
import torch

from isonet2.cli import main
from isonet2.data.looked_at import rows_read
from isonet2.errors import UserError
from isonet2.io.mrc import write_mrc
from isonet2.io.star import TomogramRow, read_star, write_star
from isonet2.job.models import STAGES, Job
from isonet2.parallel.world import World
from isonet2.physics.compared_halves import compare_halves
from isonet2.physics.fourier import filtered
from isonet2.physics.spectra import radial, spectra_of
from isonet2.physics.voxel_values import measure_values, same_but_for_scale
from isonet2.physics.wedge import wedge_mask
from isonet2.report.findings import Finding
from isonet2.stages import check as stage

SHAPE = (40, 96, 96)
Array = np.ndarray[Any, Any]


def noise(seed: int, shape: tuple[int, ...] = SHAPE) -> Array:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def tilted(volume: Array) -> Array:
    return filtered(torch.from_numpy(volume), wedge_mask(SHAPE, -60, 60).float()).numpy()


@pytest.fixture(scope="module")
def halves() -> tuple[Array, Array]:
    """A specimen of dark cubes, and noise of their own."""
    specimen = np.zeros(SHAPE, np.float32)
    for z, y, x in np.random.default_rng(0).integers(4, 36, (60, 3)) * (1, 2, 2):
        specimen[z - 2 : z + 3, y - 2 : y + 3, x - 2 : x + 3] = -5
    return tilted(specimen + noise(1)), tilted(specimen + noise(2))


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoFigure:
        def savefig(self, path: Path, **_: object) -> None:
            path.touch()

    monkeypatch.setattr("isonet2.report.check_figure.check_figure", lambda *_: NoFigure())


def row_of(folder: Path, *maps: Array, **declared: Any) -> TomogramRow:
    """Write them, as halves if there are two."""
    names = ("half1", "half2") if len(maps) > 1 else ("tomogram",)
    folder.mkdir(parents=True, exist_ok=True)
    for name, volume in zip(names, maps, strict=True):
        write_mrc(folder / f"t_{name}.mrc", volume, pixel_size_angstrom=10)
    files = {name: str(folder / f"t_{name}.mrc") for name in names}
    about: dict[str, Any] = {
        "index": 1, "pixel_size_angstrom": 10.0, "tilt_min_deg": -60.0, "tilt_max_deg": 60.0, "number_subtomos": 10,
    }  # fmt: skip
    return TomogramRow(**files | about | declared)


def found(rows: list[TomogramRow], folder: Path, **how: Any) -> list[Finding]:
    return stage.examine(rows, Path, folder / "check", World(), **how)


def of(subject: str, findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.subject == subject]


def emptied(volume: Array) -> Array:
    changed = np.zeros((40, 400, 400), np.float32)
    changed[:, :20] = noise(3, (40, 20, 400))
    return changed


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("change", [
    emptied,
    lambda volume: volume * np.float32(1e30),
    lambda volume: volume * np.float32(1e-30),
    lambda volume: np.ones_like(volume) * np.arange(len(volume), dtype=np.float32)[:, None, None],
    lambda volume: np.ones_like(volume) * np.arange(volume.shape[2], dtype=np.float32),
])  # fmt: skip
def test_maps_that_cannot_be_measured_do_not_stop_it(
    halves: tuple[Array, Array], tmp_path: Path, change: Callable[[Array], Array]
) -> None:
    findings = found([row_of(tmp_path, *map(change, halves))], tmp_path)
    assert {finding.verdict for finding in findings} & {"cannot tell", "error"}
    assert json.loads((tmp_path / "check/check.json").read_text())["findings"]


def test_a_bug_while_measuring_is_a_finding(
    halves: tuple[Array, Array], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "find_wedge", lambda *_: 1 / 0)
    (finding,) = found([row_of(tmp_path, *halves)], tmp_path)
    assert (finding.verdict, finding.seen) == (
        "cannot tell", "could not be measured (ZeroDivisionError: division by zero)"
    )  # fmt: skip


def test_where_nothing_can_be_written_it_goes_on(
    halves: tuple[Array, Array], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "check").write_text("a file")
    assert of("halves", found([row_of(tmp_path / "maps", *halves)], tmp_path))[0].verdict == "fine"
    assert (tmp_path / "check").read_text() == "a file"


@pytest.mark.parametrize(("name", "value"), [("voltage_kv", 0.0), ("voltage_kv", -300.0), ("amplitude_contrast", 1.5)])
def test_a_list_with_impossible_optics_is_refused(tmp_path: Path, name: str, value: float) -> None:
    write_star(tmp_path / "t.star", [replace(row_of(tmp_path, noise(0)), **{name: value})])
    with pytest.raises(UserError, match=r"row 1: rln(Voltage is .*kV|AmplitudeContrast is 1\.5; give it as a share)"):
        read_star(tmp_path / "t.star")


def job_of(folder: Path, **sections: Any) -> Job:
    return Job.model_validate(sections).in_folder(folder)


def test_a_run_looks_at_the_maps_that_it_reads_and_force_passes_whatever_is_missing(
    halves: tuple[Array, Array], tmp_path: Path
) -> None:
    row = row_of(tmp_path, *halves)
    write_mrc(tmp_path / "full.mrc", sum(halves), pixel_size_angstrom=10)
    write_star(tmp_path / "tomograms.star", [replace(row, tomogram=str(tmp_path / "full.mrc"))])
    (tmp_path / "t_half1.mrc").unlink()
    stage.check_in_run(job_of(tmp_path, refine={"method": "isonet2"}), World(), force=False)
    of_halves = job_of(tmp_path, refine={"method": "isonet2-n2n"})
    with pytest.raises(UserError, match=r"t_half1\.mrc: no such file"):
        stage.check_in_run(of_halves, World(), force=False)
    stage.check_in_run(of_halves, World(), force=True)


def test_only_tomograms_that_the_stages_select_are_looked_at() -> None:
    rows = [TomogramRow(index=n, tomogram=f"{n}.mrc", pixel_size_angstrom=1, tilt_min_deg=0, tilt_max_deg=1,
                        number_subtomos=1) for n in range(1, 7)]  # fmt: skip

    def read(stages: Any = STAGES, **sections: Any) -> list[int]:
        return [row.index for row in rows_read(job_of(Path(), **sections), rows, stages)]

    sections: dict[str, Any] = {
        "extract": {"tomo_idx": "2"}, "refine": {"method": "isonet2"}, "predict": {"tomo_idx": "4-5"},
    }  # fmt: skip
    assert read(**sections) == [2, 4, 5]
    assert read(["refine"], **sections) == [2]
    assert read(["predict"], **sections) == [4, 5]
    assert read(refine={"method": "isonet2"}, predict={"tomo_idx": "1"}) == [1, 2, 3, 4, 5, 6]


def test_what_the_command_found_is_not_looked_for_again(
    halves: tuple[Array, Array], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_star(tmp_path / "tomograms.star", [row_of(tmp_path / "maps", *halves)])
    (tmp_path / "job.yaml").write_text("version: 1\nrefine: {method: isonet2-n2n}\n")
    assert main(["check", "job.yaml"]) == 0
    monkeypatch.setattr(stage, "examine", lambda *_, **__: pytest.fail("looked again"))
    stage.check_in_run(job_of(tmp_path, refine={"method": "isonet2-n2n"}), World(), force=False)


def with_zero_planes(volume: Array) -> Array:
    changed = volume + 1000
    changed[:4] = 0
    return changed


def with_zero_columns(volume: Array) -> Array:
    changed = 1e4 + 30 * volume
    changed[:, :, :12] = 0
    return changed


def sloped(volume: Array) -> Array:
    return volume + np.linspace(-200, 200, volume.shape[2], dtype=np.float32)


@pytest.mark.parametrize("background", [with_zero_planes, with_zero_columns, sloped])
def test_a_background_in_common_does_not_make_two_halves_one_map(
    halves: tuple[Array, Array], tmp_path: Path, background: Callable[[Array], Array]
) -> None:
    one, other = (background(half).astype(np.float32) for half in halves)
    assert not same_but_for_scale(list(one), list(other))
    assert same_but_for_scale(list(one), list(3 * one + 5))
    assert "error" not in {finding.verdict for finding in found([row_of(tmp_path, one, other)], tmp_path)}


def test_a_copy_in_float16_is_the_same_map_and_denoised_halves_with_a_residue_are_two(
    halves: tuple[Array, Array],
) -> None:
    assert same_but_for_scale(list(halves[0]), list(halves[0].astype(np.float16).astype(np.float32)))
    mean = (halves[0] + halves[1]) / 2
    one, other = (mean + 0.005 * (half - mean) for half in halves)
    assert not same_but_for_scale(list(one), list(other))


def test_halves_of_noise_alone_are_a_doubt_and_of_two_specimens_an_error(
    halves: tuple[Array, Array], tmp_path: Path
) -> None:
    (vacuum,) = of("halves", found([row_of(tmp_path, tilted(noise(5)), tilted(noise(6)))], tmp_path))
    assert vacuum.verdict == "doubt"
    assert "next to no signal" in vacuum.seen
    elsewhere = halves[1][::-1, ::-1].copy()
    (mixed,) = of("halves", found([row_of(tmp_path, halves[0], elsewhere)], tmp_path))
    assert mixed.verdict == "error"
    assert mixed.seen.endswith("not of one tomogram")


def test_a_negative_has_to_be_significant(halves: tuple[Array, Array]) -> None:
    def compared(a: Array, b: Array) -> Any:
        spectra = spectra_of([(torch.from_numpy(a), torch.from_numpy(b))])
        return compare_halves(spectra, radial(spectra, torch.ones_like(spectra.power, dtype=torch.bool)))

    assert compared(halves[0], -halves[1]).negative
    small = [compared(noise(n, (32, 32, 32)), noise(n + 1000, (32, 32, 32))) for n in range(60)]
    assert min(one.low for one in small) < -0.2  # of chance alone
    assert not any(one.negative or one.related for one in small)


def test_padding_is_no_clipping_and_float32_no_cure_for_float32(halves: tuple[Array, Array], tmp_path: Path) -> None:
    bordered = [half.copy() for half in halves]
    clipped = [half.clip(-2.5, None) for half in halves]
    for half in bordered:
        half[:, :, :3] = half.min() - 1
    findings = found([row_of(tmp_path, *bordered)], tmp_path)
    assert [finding.verdict for finding in of("padding", findings)] == ["doubt"]
    assert not [finding for finding in of("values", findings) if "clipped" in finding.seen]
    (finding,) = of("values", found([row_of(tmp_path, *clipped)], tmp_path))
    assert "clipped" in finding.seen
    assert "float32" not in finding.cure
    framed = noise(7, (64, 64))
    framed[:5] = framed[:, -6:] = -9
    values = measure_values([framed], [0], mode=2)
    assert values.blank == pytest.approx(1 - 59 * 58 / 64**2)
    assert values.at_least < 1e-3


def test_units_and_headers(halves: tuple[Array, Array], tmp_path: Path) -> None:
    row = row_of(tmp_path, *halves, defocus_angstrom=3.0)
    for flipped, verdict in ((False, "error"), (None, "doubt")):
        (finding,) = of("defocus", found([row], tmp_path, flipped=flipped))
        assert (finding.verdict, "µm" in finding.seen) == (verdict, True)
        assert "set rlnDefocus 30000 " in finding.cure
    with mrcfile.open(row.half2, "r+") as file:
        file.voxel_size = 12.0
    (finding, _) = of("pixel size", found([row], tmp_path))
    assert finding.verdict == "doubt"
    assert "10 Å in the header of the first half, 12 Å in that of the second" in finding.seen
    with mrcfile.open(row.half1, "r+") as file:
        file.voxel_size = 1e9
    (finding,) = of("pixel size", found([row], tmp_path))
    assert finding.seen.startswith("the header has none")


def test_a_tilt_axis_turned_in_the_plane_is_seen(tmp_path: Path) -> None:
    z, y, x = np.meshgrid(np.fft.fftfreq(40), np.fft.fftfreq(96), np.fft.rfftfreq(96), indexing="ij")
    turn = np.radians(15)
    across = x * np.cos(turn) - y * np.sin(turn)
    inside = np.abs(z) <= np.abs(across) * np.tan(np.radians(60))
    turned = [np.fft.irfftn(np.fft.rfftn(noise(seed)) * inside, SHAPE, (0, 1, 2)).astype(np.float32) for seed in (1, 2)]
    (finding,) = of("wedge", found([row_of(tmp_path, turned[0] + turned[1])], tmp_path))
    assert (finding.verdict, finding.seen[:33]) == ("doubt", "the tilt axis lies 15° off y, tow")
