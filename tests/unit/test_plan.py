"""The plan's arithmetic against counting and measuring."""

from __future__ import annotations

import pytest

from isonet2.errors import UserError
from isonet2.job.architectures import ARCHITECTURES
from isonet2.job.memory import predicted_bytes_per_voxel, trained_bytes_per_voxel
from isonet2.job.models import Extract, Job, MakeMask, Predict, PrepareStar, Refine, Report, Resources, Simulate
from isonet2.job.plan import PROCESS_BYTES, TomogramFacts, make_plan, plan_table, samples_of_each

WHOLE = Job(
    make_mask=MakeMask(),
    extract=Extract(),
    refine=Refine(arch="unet-tiny", cube_size=32, epochs=7),
    predict=Predict(),
    report=Report(),
    resources=Resources(nodes=2, ranks_per_node=3, threads_per_rank=4),
)
TWO = [TomogramFacts("a", (40, 50, 60), 100), TomogramFacts("b", (32, 64, 64), 55)]


def test_steps_follow_from_samples_and_the_global_batch():
    plan = make_plan(WHOLE, TWO)
    assert plan.stages == ("make_mask", "extract", "refine", "predict", "report")
    assert (plan.ranks, plan.batch_size, plan.samples, plan.tomograms) == (6, 12, 155, 2)
    assert (plan.steps_per_epoch, plan.training_steps) == (12, 84)  # 155 = 12 · 12 + 11


def test_disk_is_that_of_every_voxel_written():
    plan = make_plan(WHOLE, TWO)
    voxels = 40 * 50 * 60 + 32 * 64 * 64
    assert plan.cache_bytes == 155 * 36**3 * (2 + 2 + 1)  # 32 + 2 × 2 along a side; float16 halves, uint8 mask
    assert plan.mask_bytes == voxels
    assert plan.prediction_bytes == 3 * 4 * voxels


def test_options_that_cost_disk_show_in_the_plan():
    job = WHOLE.model_copy(
        update={
            "extract": Extract(margin=0, dtype="float32", cache_refresh_epochs=1),
            "predict": Predict(keep_halves=False),
            "simulate": Simulate(count=3, size=(64, 96, 96)),
        }
    )
    plan = make_plan(job, TWO)
    assert plan.cache_bytes == 3 * 155 * 32**3 * (
        4 + 4 + 1
    )  # the first generation, the last one, and the one being made
    assert 3 * plan.prediction_bytes == make_plan(WHOLE, TWO).prediction_bytes
    assert plan.simulation_bytes == 3 * 64 * 96 * 96 * 4 * 4


def test_simulated_tomograms_are_foreseen_and_others_are_not():
    job = Job(
        simulate=Simulate(count=3, size=(64, 96, 96)),
        prepare_star=PrepareStar(even="e", odd="o"),
        refine=Refine(arch="unet-tiny", cube_size=32, batch_size=4),
    )
    assert make_plan(job, None).samples == 3000
    assert make_plan(job, None).steps_per_epoch == 2850 // 4
    unknown = make_plan(Job(refine=Refine()), None)
    assert (unknown.samples, unknown.training_steps, unknown.cache_bytes, unknown.batch_size) == (None, None, None, 2)
    assert "cubes" not in plan_table(unknown)


@pytest.mark.parametrize("tomograms", [1, 7, 2999, 3001])
def test_3000_cubes_are_shared_over_the_tomograms(tomograms):
    counts = samples_of_each(PrepareStar(full="f"), tomograms=tomograms)
    assert len(counts) == tomograms
    assert sum(counts) == max(3000, tomograms)
    assert max(counts) - min(counts) <= 1
    assert samples_of_each(PrepareStar(full="f", number_subtomos=5), tomograms=2) == [5, 5]


def test_what_cannot_be_cut_or_trained_is_refused():
    thin = [TomogramFacts("thin", (30, 90, 90), 5), TomogramFacts("left out", (8, 90, 90), 0)]
    with pytest.raises(UserError) as caught:
        make_plan(WHOLE, thin)
    assert str(caught.value).split("\n") == [
        "refine.cube_size 32 is too large for thin, which has 30×90×90 voxels (z, y, x): take a smaller cube",
        "refine.batch_size 12 is more than the 5 cubes there are: make it smaller",
    ]
    assert make_plan(Job(make_mask=MakeMask()), thin).mask_bytes == 38 * 90 * 90


def test_ranks_without_work_are_warned_about():
    job = WHOLE.model_copy(update={"refine": Refine(arch="unet-tiny", cube_size=32, batch_size=5)})
    plan = make_plan(job, TWO)
    assert plan.warnings == ("refine.batch_size 5 is less than 6 ranks: some will have nothing to do",)
    assert plan_table(plan).endswith("warning: refine.batch_size 5 is less than 6 ranks: some will have nothing to do")
    assert make_plan(WHOLE, TWO).warnings == ()


def test_the_table_says_everything_that_is_known():
    table = {line[:26].strip(): line[26:].strip() for line in plan_table(make_plan(WHOLE, TWO)).split("\n")}
    assert table["stages"] == "make_mask → extract → refine → predict → report"
    assert table["ranks"] == "6 on 2 nodes × 4 threads"
    assert table["steps"] == "84"
    assert table["disk: cache"] == "36.2 MB"


def test_memory_is_that_of_a_micro_batch_on_one_rank():
    def activations(**settings):
        section = Refine(arch="unet-small", cube_size=32, **settings)
        plan = make_plan(Job(refine=section, resources=Resources(ranks_per_node=2)), None)
        return plan.training_memory_bytes - PROCESS_BYTES - 20 * section.shape.parameters

    one_cube = 32**3 * trained_bytes_per_voxel(ARCHITECTURES["unet-small"])
    assert activations() == pytest.approx(2 * one_cube, abs=1)  # a batch of 4 on 2 ranks
    assert activations(batch_size=12) == pytest.approx(6 * one_cube, abs=1)
    assert activations(batch_size=12, acc_batches=3) == pytest.approx(2 * one_cube, abs=1)
    assert activations(block="residual") > activations()


def test_memory_of_predict_is_a_slab_a_batch_of_tiles_and_the_weights():
    job = Job(refine=Refine(arch="vtunet", cube_size=48), predict=Predict(tile_batch=3))
    plan = make_plan(job, [TomogramFacts("a", (48, 100, 200), 2)])
    shape = ARCHITECTURES["vtunet"]
    expected = PROCESS_BYTES + 4 * shape.parameters + 4 * 48 * 100 * 200
    expected += 3 * 48**3 * predicted_bytes_per_voxel(shape)
    assert plan.prediction_memory_bytes == pytest.approx(expected, abs=1)
