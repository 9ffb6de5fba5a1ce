"""A job folder in which every stage has left its results, and a reader of the page that is made of it."""

from __future__ import annotations

import html.parser
import json
from pathlib import Path
from typing import Any

import numpy as np

from isonet2.io.mrc import write_mrc
from isonet2.io.star import TomogramRow, write_star
from isonet2.job.models import Job
from isonet2.report.plots import slices_figure

SHAPE = (16, 24, 20)


class Page(html.parser.HTMLParser):
    """What a reader gets: the text, and the attributes of every element."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def smooth(seed: int) -> np.ndarray:
    """Blobs, dark on bright."""
    noise = np.random.default_rng(seed).standard_normal(SHAPE)
    frequency = sum(f**2 for f in np.meshgrid(*(np.fft.fftfreq(n) for n in SHAPE), indexing="ij"))
    return np.fft.ifftn(np.fft.fftn(noise) * np.exp(-60 * frequency)).real.astype(np.float32)


def write(path: Path, volume: np.ndarray) -> None:
    write_mrc(path, volume, pixel_size_angstrom=10.0)


def row(index: int, **files: Any) -> TomogramRow:
    return TomogramRow(
        index=index, pixel_size_angstrom=10.0, tilt_min_deg=-50.0, tilt_max_deg=60.0, number_subtomos=10, **files
    )


def job_at(folder: Path, **sections: Any) -> Job:
    return Job.model_validate({"report": {}, **sections}).in_folder(folder)


def put_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def finished(
    folder: Path,
    names: tuple[str, ...] = ("t1",),
    *,
    with_metrics: bool = False,
    predict: dict[str, Any] | None = None,
    **changes: Any,
) -> Job:
    """A job folder in which everything has been run, with the names of its tomograms; truth and all.

    `predict`: what differs in the facts that predict left.
    """
    rows = []
    for number, name in enumerate(names, start=1):
        truth, rng = smooth(number), np.random.default_rng(100 + number)
        noise = [rng.standard_normal(SHAPE).astype(np.float32) * truth.std() for _ in range(3)]
        files = {
            f"even/{name}.mrc": truth + 2 * noise[0],
            f"odd/{name}.mrc": truth + 2 * noise[1],
            f"truth/{name}.mrc": truth,
            f"mask/{name}.mrc": (truth < 0).astype(np.float32),
            f"out/corrected_{name}.mrc": truth + noise[2] / 2,
            f"out/corrected_{name}_half1.mrc": truth + noise[2] / 2 + noise[0] / 4,
            f"out/corrected_{name}_half2.mrc": truth + noise[2] / 2 + noise[1] / 4,
        }
        for path, volume in files.items():
            write(folder / path, volume)
        more = {"mask": f"mask/{name}.mrc", "corrected": f"out/corrected_{name}.mrc"}
        rows.append(row(number, half1=f"even/{name}.mrc", half2=f"odd/{name}.mrc", **more))
    write_star(folder / "tomograms.star", rows)
    put_records(folder)
    outputs = [f"out/corrected_{name}{ending}.mrc" for name in names for ending in ("", "_half1", "_half2")]
    maps = {name: [f"{half}/{name}.mrc" for half in ("even", "odd")] for name in names}
    facts = {"outputs": outputs, "networks": ["isonet_maps/network.pt"], "maps": maps, "method": "isonet2-n2n"}
    facts |= predict or {}
    put_stage(folder, "predict", 7.0, "15:07", facts)
    if with_metrics:
        put_metrics(folder / "isonet_maps")
    sections: dict[str, Any] = {
        "prepare_star": {"even": "even", "odd": "odd"},
        "extract": {},
        "refine": {"arch": "unet-tiny", "cube_size": 32},
        "predict": {"keep_halves": True},
        "report": {"truth_folder": "truth"},
    }
    sections |= changes
    return job_at(folder, **sections | {"report": {"with_comparison": False, **sections["report"]}})


def put_records(folder: Path) -> None:
    networks = {"networks": ["isonet_maps/network.pt"], "method": "isonet2-n2n"}
    put_stage(folder, "prepare_star", 0.5, "14:59", {})
    put_stage(folder, "refine", 340.0, "15:06", {"speed": 61.74321, "<b>": "5 < 6 & 7", **networks})
    put_json(
        folder / "provenance.json",
        {"isonet2": "0.1.0", "torch": "2.13.0", "hosts": ["node017"], "seed": 0, "git_revision": None,
         "started": "2026-11-22T16:00:00+01:00"},
    )  # fmt: skip
    (folder / "resolved.yaml").write_text("refine:\n  arch: unet-tiny # resolved\n")


def put_stage(folder: Path, stage: str, seconds: float, at: str, facts: dict[str, Any]) -> None:
    put_json(
        folder / f"stages/{stage}.json",
        {"stage": stage, "key": "k", "seconds": seconds, "ranks": 2, "peak_memory_gb": [0.8, 1.25],
         "finished": f"2026-11-22T{at}:00+00:00", "facts": facts},
    )  # fmt: skip


def put_metrics(maps: Path, held_out: list[float] | None = None) -> None:
    """Three epochs, two previews; or an epoch for each of the losses of held-out cubes."""
    (maps / "previews").mkdir(parents=True)
    lines: list[dict[str, Any]] = [
        {"kind": "epoch", "epoch": n, "step": 50 * n, "loss": 2.0 / n, "loss_measured": 1.0 / n, "loss_wedge": 0.5 / n,
         "learning_rate": 1e-3, "samples_per_s": 5.0, "seconds": 30.0, "gradient_norm": 0.7, "peak_memory_gb": 0.9}
        for n in ((1, 2, 4) if held_out is None else range(1, len(held_out) + 1))
    ]  # fmt: skip
    for line, loss in zip(lines, held_out or [], strict=False):
        line |= {"val_loss": loss, "val_loss_measured": loss / 2, "val_loss_wedge": loss / 4,
                 "val_fsc_measured": 0.8, "val_fsc_wedge": 0.5}  # fmt: skip
    for epoch in (2, 4):
        image = f"previews/epoch{epoch:03d}.png"
        volume = smooth(epoch)
        both = {"before": volume, "after": volume}
        slices_figure(maps / image, both, pixel_size_angstrom=10, tilts_deg=(-50, 60), title="a preview")
        lines.append({"kind": "preview", "epoch": epoch, "step": 50 * epoch, "image": image, "wedge_power_ratio": 0.4,
                      "cc_halves_measured": 0.9, "cc_halves_wedge": 0.7})  # fmt: skip
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (maps / "metrics.jsonl").write_text(text + '{"kind": "epoch", "epo')  # a run was killed while it wrote
