"""Command lines that `--help` shows, for each stage and each tool, and the one that runs a job."""

from __future__ import annotations

import shlex
from pathlib import Path

_LAUNCHER = Path(__file__).resolve().parents[2] / "launch" / "run.sh"

EXAMPLES = {
    "simulate": ("isonet2 simulate --count 2 --size 96,192,192 --pixel_size 10 --snr 0.5 -o simulated",),
    "prepare_star": (
        "isonet2 prepare_star --even tomoset/EVN --odd tomoset/ODD --pixel_size 5.35 --number_subtomos 800",
        "isonet2 prepare_star -e EVN -o ODD --create_average",
        "isonet2 prepare_star tomograms --tilt_min -51 --tilt_max 60",
        "isonet2 prepare_star relion/Tomograms/job012/tomograms.star",
        "isonet2 prepare_star warp_tiltseries --from warp --pixel_size 10",
    ),
    "deconv": (
        "isonet2 deconv tomograms.star",
        "isonet2 deconv tomograms.star --snrfalloff 0.7 --deconvstrength 1 --tomo_idx 1,3,5-7",
        "torchrun --standalone --nproc-per-node 4 -m isonet2 deconv tomograms.star --chunk_size 192",
    ),
    "make_mask": (
        "isonet2 make_mask tomograms.star",
        "isonet2 make_mask tomograms.star --input_column rlnDeconvTomoName --z_crop 0.3 --tomo_idx 1,3,5-7",
    ),
    "extract": ("isonet2 extract tomograms.star --cube_size 96 -o /scratch/cache",),
    "denoise": (
        "isonet2 denoise tomograms.star -o 03_test",
        "isonet2 denoise tomograms.star -o 03_test --CTF_mode network",
    ),
    "refine": (
        "isonet2 refine tomograms.star -o 01_test",
        "isonet2 refine tomograms.star --arch unet-small --cube_size 64 --epochs 20",
        "torchrun --standalone --nproc-per-node 4 -m isonet2 refine tomograms.star",
    ),
    "predict": (
        "isonet2 predict tomograms.star isonet_maps/network_isonet2-n2n_unet-medium_96_full.pt --tomo_idx 1",
        "isonet2 predict --star_file tomograms.star --model network.pt -o corrected",
    ),
    "report": ("isonet2 report tomograms.star", "isonet2 report tomograms.star --truth_folder simulated/truth"),
    "psf": (
        "isonet2 psf tomograms.star --with_ctf",
        "isonet2 psf --tilt_min -51 --tilt_max 60 --cube_size 64 --fourier",
    ),
    "fsc": (
        "isonet2 fsc tomograms.star --with_mask",
        "isonet2 fsc half1.mrc half2.mrc --tilt_min -60 --tilt_max 60 --mask soft_mask.mrc",
    ),
    "star2json": ("isonet2 star2json tomograms.star", "isonet2 star2json tomograms.star rows.json"),
    "json2star": ("isonet2 json2star tomograms.json", "isonet2 json2star rows.json tomograms.star"),
    "watch": ("isonet2 watch tomoset", "isonet2 watch tomoset/job.yaml --every 10 --ascii"),
    "check": ("isonet2 check tomograms.star", "isonet2 check job.yaml", "isonet2 check tomograms.star --tomo_idx 1-3"),
    "resize": ("isonet2 resize tomograms.star --apix 15 -o resized", "isonet2 resize tomogram.mrc --apix 10"),
    "export": ("isonet2 export tomograms.star", "isonet2 export corrected_tomos/corrected_t1.mrc -o portal"),
}


def run_command(job: Path | str) -> str:
    """What runs a job: the launcher where this is a checkout, on all ranks that the job asks for, else the program."""
    if not _LAUNCHER.is_file():
        return f"isonet2 run {shlex.quote(str(job))}"
    here = Path.cwd()
    launcher = _LAUNCHER.relative_to(here) if _LAUNCHER.is_relative_to(here) else _LAUNCHER
    return f"bash {shlex.quote(str(launcher))} {shlex.quote(str(job))}"
