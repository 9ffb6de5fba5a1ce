"""What the page says is to be believed, of the training and of its predictions, for each way to train and predict."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from report_job import SHAPE, Page, finished, put_metrics, write

from isonet2.io.star import read_star, write_star
from isonet2.parallel.world import World
from isonet2.physics.fourier import filtered
from isonet2.physics.quality import measured_and_missing
from isonet2.report import words
from isonet2.stages import report
from isonet2.training.validation import verdict


def findings(page: Page) -> dict[str, str]:
    """What the first page says is to be believed, by what it is about."""
    first = page.source[page.source.index('class="findings"') :]
    pairs = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", first[: first.index("</dl>")])
    return {html.unescape(about): html.unescape(text) for about, text in pairs}


def test_without_truth_the_top_says_what_is_to_be_believed(tmp_path: Path) -> None:
    job = finished(tmp_path, report={})
    facts = report.run(job, World())
    page = Page(job.path("report.html"))
    said = facts["support"]["t1"]
    assert findings(page) == {region.capitalize(): said[region]["sentence"] for region in said if " " in region}
    assert set(findings(page)) == {"Measured region", "Missing wedge"}
    assert "raw halves" in page.text
    assert "against the truth" not in page.text
    assert facts["outputs"] == ["report.html", "out/corrected_t1.json"]
    assert not job.path("truth.json").exists()
    json.dumps(facts, allow_nan=False)


def test_predicted_halves_left_over_from_an_earlier_run_are_not_shown(tmp_path: Path) -> None:
    job = finished(tmp_path, report={}, predict={"outputs": ["out/corrected_t1.mrc"]})
    facts = report.run(job, World())
    text = Page(job.path("report.html")).text
    assert "raw halves" in text
    assert "predicted halves (same" not in text
    assert "only the mean of both halves' was kept" in facts["support"]["t1"]["measured region"]["sentence"]


TWO = {"networks": ["isonet_maps/top/n.pt", "isonet_maps/bottom/n.pt"]}


def test_two_networks_of_unknown_origin_are_not_called_independent(tmp_path: Path) -> None:
    job = finished(tmp_path, report={}, predict={**TWO, "parts": ["full", "full"]})
    told = report.run(job, World())["support"]["t1"]
    assert "two networks, not known to be independent" in Page(job.path("report.html")).text
    assert told["missing wedge"]["state"] != "good"


def test_halves_by_two_networks_are_called_independent(tmp_path: Path) -> None:
    job = finished(tmp_path, report={}, predict={**TWO, "parts": ["top", "bottom"]})
    report.run(job, World())
    text = Page(job.path("report.html")).text
    assert "predicted halves (independent networks: each saw one half of the specimen)" in text
    assert "predicted halves (same network" not in text
    assert "a bias that both networks share it does not show" in text


def test_maps_of_noise2noise_are_called_denoised_and_their_wedge_not_filled(tmp_path: Path) -> None:
    job = finished(tmp_path, predict={"method": "n2n"})
    rows = [replace(row, corrected=None, denoised=row.corrected) for row in read_star(job.path("tomograms.star"))]
    write_star(job.path("tomograms.star"), rows)
    facts = report.run(job, World())
    page = Page(job.path("report.html"))
    assert set(facts["truth"]) == {"raw", "linear", "denoised", "tomograms"}
    assert findings(page)["Missing wedge"].startswith("Not filled: Noise2Noise")
    assert any(image["alt"] == "xy plane through the middle of t1, denoised" for image in page.all("img"))
    assert "The noise of 1 tomogram (16 × 24 × 20 voxels of 10 Å) was reduced" in page.text
    raw, denoised = (words.correlation(facts["truth"][name]["cc"]) for name in ("raw", "denoised"))
    assert f"The correlation with the known truth went from {raw} to {denoised}" in page.text


def test_the_first_page_points_at_the_doubtful_first(tmp_path: Path) -> None:
    """In the second tomogram the predictions of the halves share nothing with the data."""
    job = finished(tmp_path, ("t1", "t2"), report={})
    put_metrics(tmp_path / "isonet_maps", RISING)
    for number, name in enumerate(("", "_half1", "_half2")):
        noise = torch.randn(SHAPE, generator=torch.Generator().manual_seed(number))
        write(tmp_path / f"out/corrected_t2{name}.mrc", noise.numpy())
    told = report.run(job, World())["support"]
    assert {name: told[name]["measured region"]["state"] for name in told} == {"t1": "good", "t2": "bad"}
    source = Page(job.path("report.html")).source
    pointers = re.findall(r'<li><a href="#(.*?)">(.*?)</a></li>', source[source.index('class="pointers"') :])
    doubtful = ("tomogram-2", "t2, measured region: does not keep to the measured data.")
    usual = [page for page, _ in pointers].index("limits")
    assert pointers[0][0] == "training"
    assert doubtful in pointers[:usual]
    assert not any("t1, measured" in text for _, text in pointers)


FALLING = [1 / n for n in range(1, 13)]
FLAT = [1.0, 0.5, *[0.4] * 10]
RISING = [1.0, 0.5, *(0.4 + 0.01 * n for n in range(10))]


@pytest.mark.parametrize(
    ("losses", "state", "begins"),
    [(FLAT, "good", "Converged: "), (FALLING, "caution", "Not converged: "), (RISING, "bad", "Overfitting. ")],
)
def test_the_top_says_whether_training_has_converged(
    losses: list[float], state: str, begins: str, tmp_path: Path
) -> None:
    job = finished(tmp_path, report={})
    put_metrics(tmp_path / "isonet_maps", losses)
    report.run(job, World())
    page = Page(job.path("report.html"))
    assert findings(page)["Training"] == begins.removesuffix(": ") * (state == "bad") + verdict(losses)["sentence"]
    assert findings(page)["Training"].startswith(begins)
    assert f'<div class="{state}"><dt>Training</dt>' in page.source
    assert "Held-out cubes: predicted halves (same network, not independent)" in page.text
    assert ("--epochs 100" in page.text) == (state == "caution")
    assert "More epochs of" not in page.text or page.source.index("What next") < page.source.index("With what")


def test_without_held_out_cubes_nobody_can_tell_whether_training_has_converged(tmp_path: Path) -> None:
    job = finished(tmp_path, report={}, with_metrics=True)
    report.run(job, World())
    page = Page(job.path("report.html"))
    assert findings(page)["Training"].endswith("no cubes were held out; set validation_share.")
    assert "Held-out cubes: predicted halves" not in page.text


def test_of_split_halves_both_courses_are_shown_and_judged(tmp_path: Path) -> None:
    job = finished(tmp_path, report={}, refine={"arch": "unet-tiny", "cube_size": 32, "split_halves": True})
    put_metrics(tmp_path / "isonet_maps/top", FLAT)
    put_metrics(tmp_path / "isonet_maps/bottom", RISING)
    before = report.inputs(job)
    report.run(job, World())
    page = Page(job.path("report.html"))
    assert findings(page)["Training (refine, top half)"].startswith("Converged")
    assert findings(page)["Training (refine, bottom half)"].startswith("Overfitting")
    assert "Two networks of 1.8 million parameters (unet-tiny, isonet2-n2n) learned from the top and from" in page.text
    assert sum(str(image["alt"]).startswith("slices and spectrum before") for image in page.all("img")) == 4
    with (tmp_path / "isonet_maps/bottom/metrics.jsonl").open("a") as file:
        file.write("\n")
    assert [Path(path).parent.name for path, key in report.inputs(job).items() if before[path] != key] == ["bottom"]


def test_a_job_may_denoise_and_refine(tmp_path: Path) -> None:
    network = {"arch": "unet-tiny", "cube_size": 32}
    job = finished(tmp_path, report={}, denoise={**network, "output_dir": "denoise_maps"}, refine=network)
    put_metrics(tmp_path / "denoise_maps", FLAT)
    put_metrics(tmp_path / "isonet_maps")
    report.run(job, World())
    page = Page(job.path("report.html"))
    assert list(findings(page))[:2] == ["Training (denoise)", "Training (refine)"]
    assert findings(page)["Training (denoise)"].startswith("Converged")
    assert page.text.count("A network of 1.8 million parameters (unet-tiny") == 2


def test_several_tomograms_are_summed_up_by_what_is_said_of_them(tmp_path: Path) -> None:
    job = finished(tmp_path, ("t1", "t2"), report={})
    support = report.run(job, World())["support"]
    page = Page(job.path("report.html"))
    said = {name: found["missing wedge"]["sentence"] for name, found in support.items()}
    assert set(said) == {"t1", "t2"}
    top = findings(page)["Missing wedge"]
    for name, sentence in said.items():
        assert name in top
        assert words.uncapitalised(sentence.split(":")[0]) in top
        assert sentence in page.text


def test_a_stretch_of_tilts_that_is_missing_belongs_to_the_wedge(tmp_path: Path) -> None:
    """In the gap of the second list the two predictions share nothing."""
    job = finished(tmp_path, report={})
    (tmp_path / "gap.tlt").write_text("".join(f"{tilt}\n" for tilt in range(-50, 61, 2) if not -40 < tilt < 50))
    measured, _ = measured_and_missing(SHAPE, ((-50.0, -39.0), (49.0, 60.0)))
    a, b, shared = (torch.randn(SHAPE, generator=torch.Generator().manual_seed(n)) for n in range(3))
    for number, own in enumerate((a, b), start=1):
        mixed = filtered(shared, measured) + filtered(own, ~measured)
        write(tmp_path / f"out/corrected_t1_half{number}.mrc", mixed.numpy())
    resolution = []
    for tilts in (None, "gap.tlt"):
        rows = [replace(row, tilt_file=tilts) for row in read_star(tmp_path / "tomograms.star")]
        write_star(tmp_path / "tomograms.star", rows)
        report.run(job, World())
        cells = re.search(r">predicted halves.*?</th><td>(.*?)</td>", (tmp_path / "report.html").read_text())
        assert cells is not None
        resolution.append(cells.group(1))
    assert resolution == ["–", "≤ 20 Å"]
