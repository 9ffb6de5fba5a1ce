"""The stages of a job, one after the other: each once, skipped where nothing it depends on has changed."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from isonet2 import __version__, log
from isonet2.errors import Interrupted, IsonetError, LaunchError, UserError
from isonet2.io.atomic import appeared, naming_full_disks, sweep, write_text
from isonet2.io.lock import holding
from isonet2.io.sealed import read_sealed, write_sealed
from isonet2.job.models import STAGES, Extract, Job
from isonet2.job.resolved import fixed_batch_sizes, resolved_job, with_batch_sizes
from isonet2.parallel.collectives import all_gather, joined_world, on_every_rank, on_first_rank, stop_if_asked
from isonet2.parallel.launchers import is_first_rank
from isonet2.parallel.memory import forget_peak, peak_memory_gb
from isonet2.parallel.stopping import Stop, time_to_stop
from isonet2.parallel.world import World, gpu_doubts
from isonet2.report import words
from isonet2.report.check_record import FOLDER as CHECKED
from isonet2.report.progress import PROGRESS, telling
from isonet2.report.provenance import write_records
from isonet2.report.records import stage_path
from isonet2.stages.check import check_in_run
from isonet2.stages.validate import validate

Facts = dict[str, Any]
_LONG = ("deconv", "make_mask", "extract", "denoise", "refine", "predict")
_RESTARTED = ("deconv", "make_mask", "denoise", "refine", "predict")  # what goes on from where it stopped


def run(
    job: Job,
    *,
    restart: bool = False,
    always: bool = False,
    stages: Sequence[str] | None = None,
    force: bool = False,
) -> dict[str, Facts]:
    """Run the job's stages in this process and those beside it: what each found, by its name.

    A stage that finished before with the same settings and inputs is skipped, unless `always`, which also sets a
    training of other settings aside; `restart` runs all of them and begins the training anew. With `stages` only these
    run, and those before them must have finished. Before the first long one a few tomograms are checked: what is sure
    to be wrong there stops the run, unless `force` or `always`.
    Raises IsonetError, on every rank, with a sentence for the user; Interrupted if a signal, the file `stop` in the
    job's folder or ISONET2_STOP_AT asked for an end.
    """
    found: dict[str, Facts] = {}
    wanted = [name for name in STAGES if getattr(job, name) is not None and (stages is None or name in stages)]
    with _early_verdict(job.folder), _together(job, wanted, job.folder / "stop") as world, ExitStack() as stack:
        on_first_rank(world, lambda: stack.enter_context(holding(job.folder)))
        stack.enter_context(telling(job.folder / PROGRESS, world))
        stack.enter_context(_leaving_a_verdict(job.folder, world))
        stack.enter_context(naming_full_disks(job.folder, *_own_folders(job)))
        on_first_rank(world, lambda: sweep(_own_folders(job)))
        earlier = on_first_rank(world, lambda: resolved_job(job.folder))
        job = with_batch_sizes(job, fixed_batch_sizes(job, None if restart else earlier, world.size))
        hosts = all_gather(world, socket.gethostname())
        on_first_rank(world, lambda: write_records(job, world, hosts, earlier))
        key, doubts = "", None
        for name in _up_to(job, wanted[-1]):
            log.turn_to(name)
            if name in wanted:
                if name in _LONG and doubts is None:
                    doubts = check_in_run(job, world, wanted, force=force or always)
                how = {"restart": True} if restart and name in _RESTARTED else {}
                how |= {"set_aside": True} if always and name in job.trainings else {}
                key, found[name] = _run_stage(name, job, world, key, how, anew=restart or always)
            else:
                key = on_first_rank(world, partial(_finished_key, name, job, key))
        if doubts:
            report = f" and {job.path(job.report.output)}" if job.report else ""
            log.warn(f"check: had {words.count(doubts, 'doubt')} at first: see {job.folder / CHECKED}{report}")
    return found


def predict_tomogram(job: Job, index: int) -> None:
    """Predict the one tomogram of this index, as one of many processes that share the job's folder.

    stages/predict/<index>.ok, .fail or .stopped (why, and a word that changes with progress) says how that ended,
    .running how far it is, and <index>.stop asks it, but not the others, to stop. The STAR file and the record are left
    to `run`, which finds these tomograms finished. Raises IsonetError.
    """
    notes = job.folder / "stages" / "predict"
    notes.mkdir(parents=True, exist_ok=True)

    def note(ending: str, text: str) -> None:
        """The one note on how this tomogram's last task ended."""
        for old in ("ok", "fail", "stopped"):
            (notes / f"{index}.{old}").unlink(missing_ok=True)
        write_text(notes / f"{index}.{ending}", f"{text}\n")

    try:
        with _together(job, ["predict"], notes / f"{index}.stop") as world, ExitStack() as stack:
            stack.callback(world.stop.forget)
            on_first_rank(world, lambda: stack.enter_context(holding(job.folder, together=True)))
            stack.callback((notes / f"{index}.running").unlink, missing_ok=True)
            stack.enter_context(telling(notes / f"{index}.running", world))
            stack.enter_context(naming_full_disks(job.folder, *_own_folders(job)))
            earlier = on_first_rank(world, lambda: resolved_job(job.folder))
            job = with_batch_sizes(job, fixed_batch_sizes(job, earlier, world.size))
            key = ""
            for name in _up_to(job, "predict")[:-1]:
                key = on_first_rank(world, partial(_finished_key, name, job, key))
            importlib.import_module("isonet2.stages.predict").run(job, world, tomogram=index)
            on_first_rank(world, partial(note, "ok", _now()))
    except Interrupted as error:
        note("stopped", f"{error}\n{error.progress}")
        raise
    except Exception as error:
        with suppress(OSError):
            note("fail", str(error))
        raise


@contextmanager
def _together(job: Job, stages: Sequence[str], stop_file: Path) -> Iterator[World]:
    """The world of this run, its log open, listening to whoever wants to stop it."""
    stop = Stop(stop_file, at=time_to_stop())
    training = any(name in job.trainings for name in stages)
    resources = job.resources
    with joined_world(resources.threads_per_rank, resources.gpuID, training=training) as joined, stop.listening():
        world = replace(joined, stop=stop)
        log.start_logging(rank=world.rank, file=_log_folder(job.folder) / f"rank{world.rank:04d}.log")
        for doubt in gpu_doubts(resources.gpuID, world):
            log.warn(doubt)
        try:
            if world.size > 1:  # a process that is alone was checked before it took the time to import torch
                on_first_rank(world, lambda: _check(job))
            with log.signs_of_life(show=world.rank == 0):
                yield world
        except IsonetError as error:
            if world.rank > 0 and not error.on_every_rank:  # else the first rank says it
                log.complain(str(error), rank=world.rank)
            raise


def _check(job: Job) -> None:
    """UserError for what is wrong with the inputs."""
    for warning in validate(job).warnings:
        log.warn(warning)


def _log_folder(folder: Path) -> Path:
    """logs/, or a folder in it for each job of the scheduler and each start of that."""
    number = next((os.environ[name] for name in ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID") if name in os.environ), None)
    restarts = os.environ.get("SLURM_RESTART_COUNT", "0")
    return folder / "logs" / f"{number}.{restarts}" if number else folder / "logs"


@contextmanager
def _early_verdict(folder: Path) -> Iterator[None]:
    """The verdict of ranks that could not begin: whoever holds the folder leaves one for himself."""
    try:
        yield
    except LaunchError as error:
        if is_first_rank(os.environ):
            _write_verdict(folder, error.exit_code, str(error))
        raise


def _write_verdict(folder: Path, code: int, sentence: str, progress: str = "") -> None:
    """logs/verdict, for scripts, since launchers lose exit codes."""
    write_text(folder / "logs" / "verdict", f"{code}\n{' '.join(sentence.split())}\n{progress}\n")


@contextmanager
def _leaving_a_verdict(folder: Path, world: World) -> Iterator[None]:
    """Says how the run ended: the code, a sentence, and a word that is another one whenever something was finished
    since the last time."""
    code, sentence, progress = 0, "done", ""
    spare = folder / "logs" / ".spare"
    if world.rank == 0:  # that of an earlier run is not true any more
        (folder / "logs" / "verdict").unlink(missing_ok=True)
        with suppress(OSError):
            spare.write_bytes(os.urandom(1 << 16))  # 64 kB, not to be compressed, for last words on a full disk
    try:
        yield
    except BaseException as error:
        code = error.exit_code if isinstance(error, IsonetError) else 1
        sentence = str(error) or type(error).__name__
        progress = error.progress if isinstance(error, Interrupted) else ""
        raise
    finally:
        world.stop.forget()  # by each rank: the first may have been killed
        if world.rank == 0:
            spare.unlink(missing_ok=True)
            with suppress(OSError):
                _write_verdict(folder, code, sentence, progress)


def _own_folders(job: Job) -> list[Path]:
    """Those in the job's folder that nobody else writes into while this run holds it."""
    sections = [getattr(job, name) for name in STAGES] + [job.extract or Extract()]
    named = [
        getattr(section, key)
        for key in ("output_dir", "cache_dir", "comparison_dir")
        for section in sections
        if hasattr(section, key)
    ]
    folders = [job.path(name).resolve() for name in {"stages", CHECKED, *named}]
    return [folder for folder in folders if job.folder.resolve() in folder.parents]


def _up_to(job: Job, last: str) -> list[str]:
    """The stages of the job until this one."""
    return [name for name in STAGES[: STAGES.index(last) + 1] if getattr(job, name) is not None]


def _finished_key(name: str, job: Job, before: str) -> str:
    """The key of a stage that has to be finished; UserError if it is not."""
    stage = importlib.import_module(f"isonet2.stages.{name}")
    key = _key(name, job, stage.inputs(job), before)
    if _finished(name, job, key) is None:
        raise UserError(f"{name} is not finished in {job.folder}: isonet2 run job.yaml --stages {name} first")
    return key


def _run_stage(name: str, job: Job, world: World, key: str, how: dict[str, bool], *, anew: bool) -> tuple[str, Facts]:
    """Run one stage (`how`: in which way), or, unless `anew`, skip it: its key, which that of the stage before is part
    of, and what it found."""
    stage = importlib.import_module(f"isonet2.stages.{name}")
    key = on_first_rank(world, lambda: _key(name, job, stage.inputs(job), key))
    path = stage_path(job, name)
    before = on_first_rank(world, lambda: None if anew else _finished(name, job, key))
    if before is not None:
        log.info(f"{name}: done before, and nothing it depends on has changed")
        return key, before
    stop_if_asked(world, progress=f"{name}: not begun")
    on_first_rank(world, lambda: path.unlink(missing_ok=True))  # it is not true any more, also if this run is stopped
    log.begin(name, f"{name}: starts on {world.size} rank{'s' if world.size > 1 else ''}")
    forget_peak(world.device)
    started = time.monotonic()
    try:
        facts: Facts = stage.run(job, world, **how)
    except Interrupted as error:
        error.progress = f"{name}: {error.progress}"
        raise
    on_every_rank(world, lambda: [appeared(job.path(output)) for output in facts["outputs"]])
    seconds, peaks = time.monotonic() - started, all_gather(world, round(peak_memory_gb(world.device), 3))
    record = {
        "stage": name,
        "key": key,
        "seconds": round(seconds, 2),
        "ranks": world.size,
        "peak_memory_gb": peaks,
        "finished": _now(),
        "facts": facts,
    }
    on_first_rank(world, lambda: write_sealed(path, {**record, "outputs": _as_found(job, facts["outputs"])}))
    made = [str(job.path(output)) for output in facts["outputs"]]
    named = f": {made[0]}{f' and {len(made) - 1} more' if len(made) > 1 else ''}" if made else ""
    log.info(f"{name}: done in {seconds:.1f} s, at most {max(peaks):.2f} GB a rank{named}")
    return key, facts


def _key(name: str, job: Job, inputs: dict[str, Any], before: str) -> str:
    """Changes when the stage would give another result."""
    content = [__version__, name, job.seed, getattr(job, name).model_dump(), inputs, before]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _finished(name: str, job: Job, key: str) -> Facts | None:
    """What the stage found when it last finished, if that was with the same key and its outputs are as it left them."""
    record = read_sealed(stage_path(job, name))
    if record is None or record["key"] != key:
        return None
    for output, look in _as_found(job, record["outputs"]).items():
        if look != record["outputs"][output]:
            log.info(f"{name}: {output} is {'missing' if look is None else 'not as it was left'}")
            return None
    facts: Facts = record["facts"]
    return facts


def _as_found(job: Job, outputs: Iterable[str]) -> dict[str, list[int] | None]:
    """Size and time of each output; of the STAR file, into which others write too, only that it is there."""
    found: dict[str, list[int] | None] = {}
    for output in outputs:
        path = job.path(output)
        about = path.stat() if path.exists() else None
        found[output] = about and ([] if path == job.path(job.star_file) else [about.st_size, about.st_mtime_ns])
    return found


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")
