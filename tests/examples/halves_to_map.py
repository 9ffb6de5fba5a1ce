# %% [markdown]
# # From half tomograms to a corrected map
# Two halves of each tomogram (even and odd frames) are enough: a network learns from them alone to denoise and to fill
# the missing wedge. Here the halves are simulated and the training lasts seconds; yours lie in two folders, with the
# same names in both, and take cube_size 96, epochs 50 and a GPU, or patience.

# %%
from pathlib import Path

import isonet2

if not Path("even").exists():
    made = isonet2.simulate(size=(24, 40, 40), pixel_size=12, snr=0.5, particles=12, membranes=0)
    isonet2.write_mrc("even/tomo.mrc", made.even, pixel_size=12)
    isonet2.write_mrc("odd/tomo.mrc", made.odd, pixel_size=12)

# %% The job: each section is a stage, with the names of a job file. `isonet2 reference` lists them.
job = isonet2.Job(
    seed=1,
    prepare_star={"even": "even", "odd": "odd", "tilt_min": -60, "tilt_max": 60, "number_subtomos": 16},
    make_mask={},
    refine={"cube_size": 16, "epochs": 3, "batch_size": 4, "channels": [4, 8], "with_preview": False},
    predict={},
)

# %% Run it. What is done is skipped the next time, and Ctrl-C stops it at a checkpoint.
found = isonet2.run(job)
print(f"{found['refine']['samples']} cubes, {found['refine']['samples_per_s']:.0f} of them a second")

# %% How far a run is, also from another notebook while it works: `isonet2 watch` in a terminal shows the same.
status = isonet2.read_status(job.folder)
print(status.state, [f"{stage.stage} {stage.seconds:.1f} s" for stage in status.stages])

# %% The corrected map, and what its two halves, predicted each for itself, agree on.
corrected = isonet2.read_mrc(found["predict"]["corrected"]["tomo"])
halves = [f"corrected_tomos/corrected_tomo_half{number}.mrc" for number in (1, 2)]
agreement = isonet2.fsc(*halves, tilts=(-60, 60))
for region in ("measured", "wedge"):
    print(f"{region}: FSC 0.5 at {agreement[region].resolution_angstrom(0.5):.0f} Å")
