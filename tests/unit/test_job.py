"""The job file: what is read, what is refused, and how that is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isonet2.errors import UserError
from isonet2.job.architectures import ARCHITECTURES
from isonet2.job.load import dump_job, load_job
from isonet2.job.models import STAGES, Job, MakeMask, Predict, PrepareStar, Refine, Simulate


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes job.yaml into the current folder, so that messages call it just that."""
    monkeypatch.chdir(tmp_path)

    def write(text: str, name: str = "job.yaml") -> str:
        Path(name).write_text(text, encoding="utf-8")
        return name

    return write


def mistakes(*arguments) -> list[str]:
    with pytest.raises(UserError) as caught:
        load_job(*arguments)
    return str(caught.value).split("\n")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E-4", 1e-4),
        ("+12e03", 12000.0),
        ("010", 10.0),
        ("0o17", 15.0),
        ("0x1F", 31.0),
        ("-.5", -0.5),
        ("7.", 7.0),
        ("1e3", 1000.0),
        ("'2'", 2.0),
        ("!!float 3", 3.0),
    ],
)
def test_numbers_are_those_of_yaml_1_2(write, text, value):
    job = load_job(write(f"refine:\n  mw_weight: {text}\n"))
    assert job.refine.mw_weight == value


@pytest.mark.parametrize("text", ["12:00:00", "1_0:3", "no", "0b11", "2024-01-01", ".inf", ".nan"])
def test_what_yaml_1_1_took_for_a_number_or_a_truth_value_is_text(write, text):
    assert mistakes(write(f"refine:\n  mw_weight: {text}\n")) == [
        f"job.yaml:2: refine.mw_weight: got '{text}', needs a number"
    ]


@pytest.mark.parametrize(
    "text",
    ["010", "no", "yes", "on", "12:00:00", "1e-4", "0o17", "true", "2024-01-01", "007.50", "1,3,5-7", "~/x", "<<"],
)
def test_text_stays_as_it_is_written(write, text):
    assert load_job(write(f"make_mask:\n  output_dir: {text}\n")).make_mask.output_dir == text


def test_an_empty_section_means_its_defaults_and_an_absent_one_does_not_run(write):
    job = load_job(write("make_mask:\nrefine: ~\npredict: {}\n"))
    assert (job.make_mask, job.refine, job.predict) == (MakeMask(), Refine(), Predict())
    assert (job.simulate, job.prepare_star, job.extract, job.report) == (None, None, None, None)


def test_an_empty_value_stands_for_an_optional_default_and_for_nothing_else(write):
    assert load_job(write("refine:\n  batch_size:\n")).refine.batch_size is None
    assert mistakes(write("refine:\n  epochs:\n")) == [
        "job.yaml:2: refine.epochs: got nothing, needs a whole number ≥ 1"
    ]


def test_all_mistakes_are_reported_at_once_each_with_its_line(write):
    text = """version: 1
resources:
  ranks_per_node: two
refine:
  learn_rate: 1e-4
  epochs: 0
  cube_size: 100
  epochs: 3
  mask_loss: maybe
  method: n2n
predcit:
epochs: 5
predict: {defocus: 3, epochs: 3}
"""
    assert mistakes(write(text)) == [
        "job.yaml:3: resources.ranks_per_node: got 'two', needs a whole number ≥ 1",
        "job.yaml:5: refine.learn_rate: unknown key (did you mean 'learning_rate'?)",
        "job.yaml:6: refine.epochs: got 0, needs a whole number ≥ 1",
        "job.yaml:7: refine: cube_size 100 does not fit unet-tiny, which needs a multiple of 8: take 96 or 104",
        "job.yaml:8: refine.epochs: given twice, before at job.yaml:6: refine.epochs",
        "job.yaml:9: refine.mask_loss: got 'maybe', needs true or false",
        "job.yaml:10: refine.method: got 'n2n', needs one of isonet2, isonet2-n2n",
        "job.yaml:11: predcit: unknown key (did you mean 'predict'?)",
        "job.yaml:12: epochs: unknown key (did you mean 'refine.epochs'?)",
        "job.yaml:13: predict.defocus: unknown key (did you mean 'prepare_star.defocus'?)",
        "job.yaml:13: predict.epochs: unknown key (did you mean 'refine.epochs'?)",
    ]


def test_the_second_spelling_of_a_key_works_but_not_beside_the_first(write):
    assert load_job(write("refine:\n  iterations: 4\n")).refine.epochs == 4
    assert mistakes(write("refine:\n  epochs: 3\n  iterations: 4\n")) == [
        "job.yaml:3: refine.iterations: given twice, before at job.yaml:2: refine.epochs"
    ]


def test_sections_that_contradict_each_other_are_a_mistake_where_the_cure_is(write):
    text = "extract:\n  cube_size: 48\nrefine:\n  cube_size: 96\n"
    assert mistakes(write(text)) == [
        "job.yaml:2: extract.cube_size 48 is not refine.cube_size 96: leave out the former"
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("refine: 1\n", "job.yaml:1: refine: needs its settings on lines of their own below it, each as 'name: value'"),
        ("refine:\n  epochs: {a: 1}\n", "job.yaml:2: refine.epochs: needs a whole number ≥ 1, without nesting or tags"),
        (
            "refine:\n  epochs: !!python/object/apply:os.system [ls]\n",
            "job.yaml:2: refine.epochs: needs a whole number ≥ 1, without nesting or tags",
        ),
        (
            "refine:\n  method: !secret x\n",
            "job.yaml:2: refine.method: needs one of isonet2, isonet2-n2n, without nesting or tags",
        ),
        ("refine:\n  epochs: true\n", "job.yaml:2: refine.epochs: got 'true', needs a whole number ≥ 1"),
        (
            "simulate:\n  size: [64, 64]\n",
            "job.yaml:2: simulate.size: got 64,64, needs three whole numbers, as in 96,192,192",
        ),
        ("- a\n", "job.yaml:1: needs sections, such as 'refine:'"),
        ("refine: {epochs: 3\n", "job.yaml:2: this is not YAML: expected ',' or '}', but got '<stream end>'"),
        ("refine:\n\tepochs: 3\n", "job.yaml:2: this is not YAML: found character '\\t' that cannot start any token"),
        ("refine:\n---\nrefine:\n", "job.yaml:2: this is not YAML: but found another document"),
        ("version: 2\nrefine:\n", "job.yaml:1: version: got 2, needs 1"),
    ],
)  # fmt: skip
def test_every_other_mistake_has_its_sentence(write, text, message):
    assert mistakes(write(text)) == [message]


def test_a_job_that_does_nothing_is_refused(write):
    for text in ("", "seed: 3\n"):
        assert mistakes(write(text))[0].startswith("job.yaml: nothing to do: it needs a section, one of simulate, ")


def test_a_file_that_is_missing_or_no_text_is_refused_in_one_line(write):
    assert mistakes("absent.yaml") == ["absent.yaml: cannot be read as a job file: No such file or directory"]
    Path("latin.yaml").write_bytes(b"refine:\n  output_dir: \xe4\n")
    assert mistakes("latin.yaml") == ["latin.yaml: cannot be read as a job file: not UTF-8 text"]


def test_json_gives_the_same_job_as_yaml(write):
    values = {"seed": 3, "simulate": {"size": [64, 96, 96], "snr": 1e-4, "output_dir": 'ä "b"\\c'}, "make_mask": None}
    from_json = load_job(write(json.dumps(values, indent="\t"), "job.json"))
    from_yaml = load_job(
        write('seed: 3\nsimulate:\n  size: 64,96,96\n  snr: 1e-4\n  output_dir: ä "b"\\c\nmake_mask:\n')
    )
    assert from_json == from_yaml
    assert from_json.simulate == Simulate(size=(64, 96, 96), snr=1e-4, output_dir='ä "b"\\c')


def test_aliases_of_yaml_repeat_a_value(write):
    job = load_job(write("refine:\n  cube_size: &side 64\nextract:\n  cube_size: *side\n"))
    assert (job.refine.cube_size, job.extract.cube_size) == (64, 64)


def test_overrides_win_over_the_file_and_may_add_sections(write):
    name = write("seed: 1\nrefine:\n  epochs: wrong\n")
    job = load_job(
        name,
        ["refine.iterations=2e1", "seed=0x10", "simulate.size=[64, 80, 96]", "make_mask=", "refine.output_dir=010",
         "refine.batch_size=null", "refine.epochs=21"],
    )  # fmt: skip
    assert (job.seed, job.simulate.size, job.make_mask) == (16, (64, 80, 96), MakeMask())
    assert job.refine == Refine(epochs=21, output_dir="010")


def test_a_section_that_is_set_to_null_is_left_out_and_may_come_back(write):
    name = write("seed: 1\nrefine:\n  epochs: wrong\nextract:\n")
    assert load_job(name, ["refine=null", "denoise=~"]).trainings == {}
    assert load_job(name, ["refine=null", "refine.epochs=3"]).refine == Refine(epochs=3)
    assert mistakes(name, ["refine=null", "extract=null"]) == [
        f"job.yaml: nothing to do: it needs a section, one of {', '.join(STAGES)}"
    ]


@pytest.mark.parametrize(
    ("wall_time", "enough"), [("00:09:59", False), ("0-00:05:00", False), ("00:10:00", True), ("1-00:00:00", True)]
)
def test_a_wall_time_has_room_for_more_than_saving(wall_time, enough):
    given = {"resources": {"wall_time": wall_time}, "report": {}}
    if enough:
        assert Job.model_validate(given).resources.wall_time == wall_time
    else:
        with pytest.raises(
            ValueError, match=f"wall_time {wall_time}: its last five minutes are for saving: take 00:10:00"
        ):
            Job.model_validate(given)


def test_overrides_are_checked_like_the_file(write):
    name = write("refine:\n  epoch: 1\n")
    overrides = [
        "refine.epoch=20",
        "refin.epochs=2",
        "refine.epochs",
        "refine.arch=unet",
        "a.b.c=1",
        "refine.loss_func=[L2",
    ]
    assert mistakes(name, overrides) == [
        "job.yaml:2: refine.epoch: unknown key (did you mean 'epochs'?)",
        "--set refine.epoch=20: unknown key (did you mean 'epochs'?)",
        "--set refin.epochs=2: unknown section (did you mean 'refine'?)",
        "--set refine.epochs: needs the form section.key=value",
        f"--set refine.arch=unet: got 'unet', needs one of {', '.join(ARCHITECTURES)}",
        "--set a.b.c=1: needs the form section.key=value",
        "--set refine.loss_func=[L2: [L2 is not YAML: put it in quotes",
    ]


def test_relative_paths_start_at_the_folder_of_the_job_file(write, tmp_path):
    (tmp_path / "there").mkdir()
    job = load_job(write("make_mask:\n", "there/job.yaml"))
    assert job.path("a.mrc") == tmp_path / "there" / "a.mrc"
    assert job.path("/b.mrc") == Path("/b.mrc")


texts = st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\ufeff\ufffe\uffff"), min_size=1)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    folder=texts | st.sampled_from(["null", "~", "010", "1e-4", "no", "#x", "a: b", " x ", "0x1f"]),
    rate=st.floats(1e-12, 1e3),
    defocus=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=3),
    batch_size=st.none() | st.integers(1, 512),
)
def test_a_resolved_job_loads_back_equal(tmp_path, folder, rate, defocus, batch_size):
    job = Job(
        prepare_star=PrepareStar(full=folder, defocus=tuple(defocus)),
        refine=Refine(learning_rate=rate, learning_rate_min=0, batch_size=batch_size),
    ).in_folder(tmp_path)
    (tmp_path / "resolved.yaml").write_text(dump_job(job), encoding="utf-8")
    assert load_job(tmp_path / "resolved.yaml") == job


def test_a_resolved_job_says_every_value(tmp_path):
    text = dump_job(Job(refine=Refine()))
    assert all(f"  {name}:" in text for name in Refine.model_fields)
    assert "\npredict:" not in text


def test_the_class_reads_files_too(write):
    assert Job.from_yaml(write("refine:\n"), ["refine.epochs=3"]).refine.epochs == 3
