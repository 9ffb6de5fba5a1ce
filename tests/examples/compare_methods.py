# %% [markdown]
# # Compare methods on simulated tomograms, whose truth is known
# n2n only denoises; isonet2-n2n also fills the missing wedge. Here they train for seconds, which is too short to judge
# them: for that take size [96, 192, 192], count 4, cube_size 64 and 50 epochs.

# %%
import isonet2

TILTS = (-60.0, 60.0)
NETWORK = {"cube_size": 16, "epochs": 4, "batch_size": 4, "channels": [8, 16], "with_preview": False}
DATA = {
    "seed": 2,
    "simulate": {"size": [32, 48, 48], "pixel_size": 12, "snr": 0.5, "particles": 20, "membranes": 0},
    "prepare_star": {"even": "simulated/even", "odd": "simulated/odd", "create_average": True, "number_subtomos": 24},
}

# %% A training and a prediction for each method, in folders of their own; the data are made once.
METHODS = {
    "n2n": {"denoise": {**NETWORK, "output_dir": "n2n"}},
    "isonet2-n2n": {"refine": {**NETWORK, "method": "isonet2-n2n", "output_dir": "isonet2-n2n"}},
}
maps = {}
for method, training in METHODS.items():
    found = isonet2.run(isonet2.Job(**DATA, **training, predict={"output_dir": f"{method}/maps"}))
    (maps[method],) = found["predict"]["corrected"].values()
maps = {"raw": "simulated/full/tomo_001.mrc", **maps}

# %% Correlation with the truth, where the tilts measured and where they did not; and how fine the details are.
truth = "simulated/truth/tomo_001.mrc"
print(f"{'':14}{'all':>7}{'measured':>10}{'wedge':>7}{'FSC 0.5, measured':>20}")
for method, volume in maps.items():
    scores = isonet2.compare(volume, truth, tilts=TILTS)
    finest = isonet2.fsc(volume, truth, tilts=TILTS)["measured"].resolution_angstrom(0.5)
    print(f"{method:14}{scores['cc']:7.2f}{scores['cc_measured']:10.2f}{scores['cc_wedge']:7.2f}{finest:18.0f} Å")

# %% The same network on an array: what a notebook does with a map that is in no list.
again = isonet2.predict(
    ("simulated/even/tomo_001.mrc", "simulated/odd/tomo_001.mrc"), found["refine"]["networks"][0], tilts=TILTS
)
print(f"largest difference from the file: {abs(again - isonet2.read_mrc(maps['isonet2-n2n'])).max():.2g}")
