"""The parts of the quality bench (tests/bench/quality.py) that can be judged without a training."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.append(str(Path(__file__).resolve().parents[1] / "bench"))
cells, measures, phantoms = (import_module(name) for name in ("cells", "measures", "phantoms"))


def test_a_training_gets_the_cubes_that_its_budget_pays_for() -> None:
    """A start of 6 s and 0.25 s a cube: 300 s are 1176 cubes."""
    points = [(8, 8.0), (48, 18.0)]
    assert cells.samples_for(300, points) == pytest.approx(1176)
    assert cells.samples_for(300, [*points, (1000, 256.0)]) == pytest.approx(1176)
    with pytest.raises(SystemExit, match="busy"):
        cells.samples_for(300, [(8, 18.0), (48, 8.0)])


@pytest.mark.parametrize("samples", [60, 500, 1176, 12345])
def test_epochs_and_cubes_make_the_samples_within_one_percent_or_a_cube_each(samples: int) -> None:
    cubes, epochs = cells.shared_out(samples, tomograms=2)
    assert cubes * epochs * 2 == pytest.approx(samples, rel=0.01, abs=2)
    assert cubes <= 150
    assert cubes >= 67 or epochs == 1


def test_finished_cells_are_skipped_and_baselines_run_once_for_each_seed() -> None:
    cell = cells.Cell
    all_of_them = cells.wanted(["snr1"], ["raw", "isonet2"], [0, 1], [300, 3000], ["refine.b=2", "refine.a=1"])
    idea = "isonet2 refine.a=1 refine.b=2"
    assert all_of_them == [
        cell("snr1", "raw", 0, 0), cell("snr1", idea, 0, 300), cell("snr1", idea, 0, 3000),
        cell("snr1", "raw", 1, 0), cell("snr1", idea, 1, 300), cell("snr1", idea, 1, 3000),
    ]  # fmt: skip
    calibration = {"condition": "snr1", "method": idea, "samples": 8, "cpu_s": 5.0}
    finished = [json.loads(json.dumps(all_of_them[n]._asdict())) for n in (0, 2)]
    assert cells.unfinished(all_of_them, [calibration, *finished]) == [all_of_them[1], *all_of_them[3:]]


def test_an_idea_for_one_training_does_not_rename_another() -> None:
    methods = ["denoise", "isonet2-n2n"]
    found = cells.wanted(["snr1"], methods, [0], [300], ["refine.mw_weight=4", "make_mask.z_crop=0"])
    assert [cell.method for cell in found] == [
        "denoise make_mask.z_crop=0", "isonet2-n2n make_mask.z_crop=0 refine.mw_weight=4"
    ]  # fmt: skip


def test_the_table_holds_mean_and_spread_over_seeds() -> None:
    line = dict.fromkeys(cells.COLUMNS, 0.5) | {"condition": "truth", "method": "isonet2", "budget": 300}
    lines = [{**line, "seed": seed, "cpu_s": 300.0, "cc": value} for seed, value in enumerate((0.7, 0.8, 0.9))]
    row = cells.table([{"condition": "truth", "method": "isonet2", "samples": 8, "cpu_s": 1}, *lines]).split("\n")[4]
    assert row.startswith("| isonet2 | 300 ± 0 | 0.800 ± 0.100 | 0.500 ± 0.000 |")
    assert row.endswith("| 3 |")


def test_the_correlation_of_particles_is_that_in_the_sphere_around_each() -> None:
    """Against numpy, voxel by voxel; what lies outside the spheres is of no account."""
    rng = np.random.default_rng(1)
    volume, truth = rng.standard_normal((2, 20, 22, 24))
    particles = [[9.3, 8.0, 12.6, 3.0], [10.0, 14.5, 16.0, 2.5], [1.0, 10.0, 10.0, 3.0]]  # the last one is cut off
    expected = []
    for z, y, x, radius in particles[:2]:
        inside = [
            (volume[k, j, i], truth[k, j, i])
            for k, j, i in np.ndindex(volume.shape)
            if (k - z) ** 2 + (j - y) ** 2 + (i - x) ** 2 <= (radius + 1) ** 2
        ]
        expected.append(np.corrcoef(np.transpose(inside))[0, 1])
    maps = [torch.from_numpy(array) for array in (volume, truth)]
    assert measures.particle_correlation(*maps, particles) == pytest.approx(np.mean(expected))


def test_resolution_is_where_the_curve_first_falls_to_the_threshold() -> None:
    frequency = torch.arange(11) / 20.0
    falling = 1 - torch.arange(11) / 10.0
    assert measures.resolution(frequency, falling, 0.55) == pytest.approx(1 / 0.225)
    assert measures.resolution(frequency, torch.ones(11), 0.5) == pytest.approx(2.0)
    assert measures.resolution(frequency, torch.zeros(11), 0.5) == pytest.approx(1 / 0.15)
    holes = falling.clone()
    holes[[1, 4]] = torch.nan
    assert measures.resolution(frequency, holes, 0.55) == pytest.approx(1 / 0.225)


def test_pdb_and_mmcif_of_one_molecule_make_the_same_cloud() -> None:
    rng = np.random.default_rng(2)
    atoms = [("AB", "CNOP"[n % 4], *np.round(rng.uniform(-90, 90, 3), 3)) for n in range(40)]
    pdb = ["REMARK", *(f"{'ATOM':20}{c}        {x:8.3f}{y:8.3f}{z:8.3f}{e:>24}" for c, e, x, y, z in atoms)]
    labels = [
        f"_atom_site.{label}" for label in ("group", "type_symbol", "Cartn_x", "Cartn_y", "Cartn_z", "auth_asym_id")
    ]
    cif = [*labels, *(f"ATOM {e} {x} {y} {z} {c}" for c, e, x, y, z in atoms), "#"]
    assert list(phantoms.pdb_atoms(pdb)) == list(phantoms.cif_atoms(cif)) == atoms
    cloud = phantoms.cloud_of(atom[1:] for atom in [*atoms, ("AB", "H", 500.0, 0.0, 0.0)])
    assert cloud.shape == (2, 4)  # 32 of 40 atoms: what makes no whole group is left out
    assert cloud[:, 3] == pytest.approx(4 * (6 + 7 + 8 + 15) * 2.55)
    np.testing.assert_allclose(cloud[0, :3] + cloud[1, :3], 0, atol=1e-4)
    weights = np.array([6, 7, 8, 15] * 4)
    halves = [np.average([a[2:] for a in atoms[start : start + 16]], axis=0, weights=weights) for start in (0, 16)]
    np.testing.assert_allclose(cloud[0, :3] - cloud[1, :3], halves[0] - halves[1], rtol=1e-4)
