"""Measures cabench on one GPU, tests it there and runs a first study; results come as one tar.

    scripts/gpu_check.sh                                 # unpacks wheels, sets the time limit
    python scripts/gpu_check.py [--device cuda] [--limit 480] [--out DIR]
    python scripts/gpu_check.py --device cpu --dry       # the same code with tiny shapes

The parts run in this order, the most valuable first, and each writes its table when it ends: eager
timings, tests (while other processes compile), compiled timings, the study, the forms of per-sample
layers, further models. A measurement that fails is a row with its error, and the later parts run
all the same; the exit code is then 1, and failed.txt says what failed in which part.

Times are medians over rounds in which the measured works alternate; [low, high] is a 95 % bootstrap
interval of the median of the ratios.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import subprocess
import sys
import tarfile
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts"), str(ROOT / "tests")]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from gpu_models import (  # noqa: E402
    ARMS,
    KERNELS,
    Model,
    Work,
    context_of_cpu,
    layers,
    peer_sampling,
    peer_training,
    rehearse,
    sampling,
    spec_of,
    training,
    under,
)

from cabench.cost.macs import meta_macs  # noqa: E402
from cabench.models.cuda_forms import TABLE, Timing, write  # noqa: E402
from cabench.runtime.devices import pick_device  # noqa: E402

LOOP = "linear=loop,depthwise=loop"
NO_TIME = "no time left"
RESERVE = 10  # seconds before the limit for the last tar


@dataclass
class Check:
    """A run of the script: where it writes, and how much time is left."""

    device: str
    dry: bool
    out: Path
    end: float  # of the whole run, in time.time()
    rounds: int = 7
    started: float = field(default_factory=time.time)
    part: str = ""  # that runs now
    faults: dict[str, list[str]] = field(default_factory=dict)  # what failed, by part

    @property
    def left(self) -> float:
        return self.end - RESERVE - time.time()

    @property
    def main(self) -> Model:
        """DiT-S/2 on latents of 32x32 (256 tokens); in a rehearsal, micro on 8x8."""
        return Model("dit", "micro", 8, 4, steps=2) if self.dry else Model("dit", "S", 32, 256)

    def say(self, text: str) -> None:
        line = f"{time.time() - self.started:6.1f} s  {text}"
        print(line, flush=True)
        with (self.out / "log.txt").open("a") as f:
            f.write(line + "\n")

    def fault(self, text: str) -> None:
        """Notes that something of the part that runs has failed."""
        self.faults.setdefault(self.part, []).append(text)
        self.say(f"FAILED {self.part}: {text}")

    def table(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Writes NAME.csv, with the columns of all rows."""
        columns = list(dict.fromkeys(key for row in rows for key in row))
        with (self.out / f"{name}.csv").open("w", newline="") as f:
            writer = csv.DictWriter(f, columns)
            writer.writeheader()
            writer.writerows(rows)

    def child(self, part: str, log: str, *more: str) -> subprocess.Popen[bytes]:
        """This script in another process, with one part of the work."""
        command = [sys.executable, __file__, "--device", self.device, "--out", str(self.out)]
        command += ["--part", part, "--limit", str(max(1.0, self.left))]
        command += ["--dry"] * self.dry + list(more)
        with (self.out / f"{log}.txt").open("wb") as f:
            return subprocess.Popen(command, stdout=f, stderr=subprocess.STDOUT, cwd=ROOT)

    def wait(self, processes: list[subprocess.Popen[bytes]], seconds: float) -> list[int | None]:
        """Their exit codes; None for one that was stopped at the limit."""
        limit = time.time() + min(seconds, self.left)
        for process in processes:
            try:
                process.wait(max(0.1, limit - time.time()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                process.returncode = None  # pyright: ignore[reportAttributeAccessIssue]
        return [process.returncode for process in processes]


# ---- timing -------------------------------------------------------------------------------------


def seconds_of(work: Work, repeats: int, device: str) -> float:
    """Seconds of one call. On a GPU: between two events, of which the first meets an idle GPU."""
    if not device.startswith("cuda"):
        began = time.perf_counter()
        for _ in range(repeats):
            work()
        return (time.perf_counter() - began) / repeats
    torch.cuda.synchronize(device)
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(repeats):
        work()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1000 / repeats


def interval(values: np.ndarray, draws: int = 2000) -> tuple[float, float]:
    """95 % bootstrap interval of the median."""
    rows = np.random.default_rng(0).integers(0, len(values), (draws, len(values)))
    low, high = np.quantile(np.median(values[rows], axis=1), [0.025, 0.975])
    return float(low), float(high)


def timed(
    check: Check,
    name: str,
    makers: Mapping[str, Callable[[], Work]],
    base: str,
    images: int,
    flops: Mapping[str, float] | None = None,
    turn: float = 0.25,  # seconds of one work in one round
    seconds: float = 30,  # for all rounds, without building and compiling
) -> list[dict[str, Any]]:
    """Times works in alternating order; writes and returns a row for each."""
    works, rows, repeats = {}, {}, {}
    for key, make in makers.items():
        rows[key] = {"part": name, "work": key}
        if check.left < 20:
            rows[key]["error"] = NO_TIME
            continue
        try:
            began = time.perf_counter()
            work = make()
            work()
            work()
            rows[key]["first_s"] = round(time.perf_counter() - began, 2)
            once = seconds_of(work, 1, check.device)
            repeats[key] = 1 if check.dry else max(1, min(50, round(turn / max(once, 1e-6))))
            works[key] = work
        except Exception as error:
            rows[key]["error"] = f"{type(error).__name__}: {error}".splitlines()[0][:300]
            check.fault(f"{name}, {key}: {rows[key]['error']}")
            with (check.out / "errors.txt").open("a") as f:
                f.write(f"{name}, {key}\n{traceback.format_exc()}\n")
    spent: dict[str, list[float]] = {key: [] for key in works}
    stop = time.time() + min(seconds, check.left - 10)
    for index in range(2 if check.dry else check.rounds):
        for key in list(works)[:: 1 if index % 2 == 0 else -1]:
            spent[key].append(seconds_of(works[key], repeats[key], check.device))
        if index > 1 and time.time() > stop:
            break
    for key, values in spent.items():
        of = np.array(values)
        row = rows[key] | {"rounds": len(of), "ms": float(np.median(of)) * 1000}
        row["ms_low"], row["ms_high"] = (1000 * v for v in interval(of))
        row["images_per_s"] = images / float(np.median(of))
        if flops is not None:
            row["tflops"] = flops[key] / float(np.median(of)) / 1e12
        if base in spent:
            ratios = of / np.array(spent[base])
            row[f"over_{base}"] = float(np.median(ratios))
            row["over_low"], row["over_high"] = interval(ratios)
        rows[key] = row
        over = f", {row[f'over_{base}']:.3f} x {base}" if base in spent else ""
        check.say(f"{name}, {key}: {row['ms']:.2f} ms, {row['images_per_s']:.0f} images/s{over}")
    del works
    if check.device.startswith("cuda"):
        torch.cuda.empty_cache()
    return list(rows.values())


def matmul_rate(device: str, dry: bool) -> float:
    """FLOP/s of a bfloat16 matrix product, the best of several."""
    n = 128 if dry else 8192
    a, b = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))
    best = min(seconds_of(lambda: a @ b, 1 if dry else 10, device) for _ in range(6))
    return 2 * n**3 / best


# ---- the parts ----------------------------------------------------------------------------------


def step_flops(model: Model, arm: str) -> float:
    """A step counts as three forward passes, a multiplication with an addition as two."""
    return 6 * model.batch * meta_macs(spec_of(model, arm)).total


def share(check: Check, rows: list[dict[str, Any]], rate: float) -> list[dict[str, Any]]:
    for row in rows:
        if "tflops" in row:
            row["share_of_matmul"] = row["tflops"] * 1e12 / rate
    return rows


def eager(check: Check, rate: float) -> None:
    """Steps and samplings of both arms and of diffusers, loop against fused, forms of layers."""
    model, device = check.main, check.device
    flops = {arm: step_flops(model, arm) for arm in ARMS}
    works: dict[str, Callable[[], Work]] = {a: lambda a=a: training(model, a, device) for a in ARMS}
    works |= {f"{a}, same batch": lambda a=a: training(model, a, device, draw=False) for a in ARMS}
    works |= {"diffusers": lambda: peer_training(model, device, False)}
    works |= {"can-3, loop": lambda: under(LOOP, training(model, "can-3", device))}
    flops |= {f"{a}, same batch": flops[a] for a in ARMS}
    flops |= {"diffusers": flops["control"], "can-3, loop": flops["can-3"]}
    rows = timed(check, "step, eager", works, "control", model.batch, flops, seconds=15)
    check.table("eager", share(check, rows, rate))
    works = {arm: lambda arm=arm: sampling(model, arm, device) for arm in ARMS}
    works |= {"diffusers": lambda: peer_sampling(model, device, False)}
    works |= {"can-3, loop": lambda: under(LOOP, sampling(model, "can-3", device))}
    rows += timed(check, "sampling, eager", works, "control", model.batch, seconds=12)
    check.table("eager", rows)


# batch, side of the grid, channels in and out: those of S/2 with 256 tokens first
SHAPES = {
    "linear": [(256, 16, 384, 384), (256, 16, 384, 1536), (64, 8, 128, 128), (64, 16, 1152, 1152)],
    "depthwise": [(256, 16, 1536, 1536), (64, 8, 512, 512), (64, 16, 4608, 4608)],
    "conv": [(64, 32, 64, 64), (64, 16, 256, 256)],
}
SMALL = {"linear": [(4, 4, 8, 8)], "depthwise": [(4, 4, 16, 16)], "conv": [(4, 4, 8, 8)]}


def forms(check: Check) -> None:
    """Every form of the layers with a weight per sample, and the table for `models.cuda_forms`."""
    rows: list[dict[str, Any]] = []
    timings: list[Timing] = []
    for kind, shapes in (SMALL if check.dry else SHAPES).items():
        for shape in shapes:
            if check.left < 20:
                check.say(f"forms: {NO_TIME}")
                return
            name = f"{kind} layer, {' x '.join(map(str, shape))}"
            works = layers(kind, shape, check.device)
            makers = {form: lambda work=work: work for form, work in works.items()}
            rows += (new := timed(check, name, makers, "static", shape[0], turn=0.03, seconds=2))
            batch, side, inputs, outputs = shape
            sizes = (kind, batch, side**2, inputs, outputs, KERNELS[kind])
            measured = [row for row in new if "ms" in row and row["work"] != "static"]
            timings += [Timing(*sizes, form=row["work"], ms=row["ms"]) for row in measured]
            check.table("forms", rows)
            write(check.out / TABLE.name, timings)


def compiled_works(check: Check) -> dict[str, dict[str, Callable[[], Work]]]:
    """What is timed compiled, by part."""
    model, device = check.main, check.device
    return {
        "step, compiled": {arm: lambda arm=arm: training(model, arm, device, True) for arm in ARMS}
        | {"diffusers": lambda: peer_training(model, device, True)},
        "sampling, compiled": {
            arm: lambda arm=arm: sampling(model, arm, device, True) for arm in ARMS
        }
        | {"diffusers": lambda: peer_sampling(model, device, True)},
    }


def compile_one(check: Check, key: str) -> None:
    """Fills torch's cache of compiled code for one model; run in a process beside the tests."""
    for part, makers in compiled_works(check).items():
        began = time.time()
        makers[key]()()
        print(f"{part}, {key}: compiled in {time.time() - began:.1f} s", flush=True)


def compiled(check: Check, rate: float) -> None:
    """The same compiled, from the cache that `compile_one` filled."""
    model = check.main
    flops = {arm: step_flops(model, arm) for arm in ARMS}
    flops["diffusers"] = flops["control"]
    rows: list[dict[str, Any]] = []
    for part, makers in compiled_works(check).items():
        counted = flops if part.startswith("step") else None
        rows += timed(check, part, makers, "control", model.batch, counted, seconds=12)
        check.table("compiled", share(check, rows, rate))


def tests(check: Check, seconds: float) -> None:
    """`pytest -m gpu`, while three other processes compile."""
    keys = [*ARMS, "diffusers"]
    compilers = [check.child("compile", f"compile-{key}", "--key", key) for key in keys]
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "tests/test_gpu.py", "-v", "--tb=short"]
    command += ["-p", "no:cacheprovider", f"--junitxml={(check.out / 'tests.xml').resolve()}"]
    environment = os.environ | {"CABENCH_GPU_TESTS": check.device, "PYTHONPATH": _path()}
    with (check.out / "tests.txt").open("wb") as f:
        run = subprocess.Popen(
            command, stdout=f, stderr=subprocess.STDOUT, cwd=ROOT, env=environment
        )
    codes = check.wait([run, *compilers], seconds)
    lines = (check.out / "tests.txt").read_text().strip().splitlines()
    check.say(f"tests: exit code {codes[0]}; {lines[-1] if lines else 'no output'}")
    names = dict(zip(keys, codes[1:], strict=True))
    if codes[0] != 0:
        check.fault(f"pytest ended with {_code(codes[0])}; see tests.txt")
    for key, code in names.items():
        if code:  # one that was stopped is no fault: the next part compiles then
            check.fault(f"the compiler of {key} ended with {_code(code)}; see compile-{key}.txt")
    check.table("tests", [{"part": "tests", "exit_code": codes[0], "last": " ".join(lines[-1:])}])
    check.say(f"compilers: {names}")


def study(check: Check, seconds: float) -> None:
    """The study at scale gpu-quick: one process for each seed, side by side on the device."""
    began = time.time()
    runs = [check.child("trials", f"study-{seed}", "--seed", str(seed)) for seed in (0, 1)]
    codes = check.wait(runs, seconds)
    rows = trial_rows(check.out / "results" / "records")
    check.table("study", rows)
    done = sum(row["status"] == "complete" for row in rows)
    check.say(f"study: {done} trials complete in {time.time() - began:.0f} s, exit codes {codes}")
    for seed, code in enumerate(codes):
        if code != 0:
            check.fault(f"seed {seed} ended with {_code(code)}; see study-{seed}.txt")
    for row in rows:
        if row["status"] != "complete":
            check.fault(f"{row['methods']}, seed {row['seed']}: {row['error']}")


def trial_rows(folder: Path) -> list[dict[str, Any]]:
    """A row for each record, KEY.json; the curves beside it are in KEY.curves.json."""
    rows = []
    for path in sorted(folder.glob("*.json")):
        if path.name.count(".") > 1:
            continue
        record = json.loads(path.read_text())
        spec = record["spec"]["train"]
        methods = "+".join(method["kind"] for method in spec["model"]["methods"])
        row = {"key": path.stem, "methods": methods, "seed": spec["seed"]}
        row |= {"status": record["status"], "error": record["error"]}
        pace = record["timing"].get("train_images_per_s")
        rows.append(row | record["metrics"] | {"train_images_per_s": pace})
    return rows


def trials(check: Check, seed: int) -> None:
    """The trials of one seed, without Ray, pandas and SciPy; their records are in OUT/results."""
    from cabench.config.study import read_scale, read_study
    from cabench.execution.trial import run_trial
    from cabench.planning.trials import plan
    from cabench.records.store import Store

    settings = ()
    if check.dry:
        settings = ("training.images=256", "training.batch=64", "training.snapshot_every=128")
        settings += ("backbones.dit.preset=micro", "sampling.n=100", "sampling.steps=2")
        settings += ("training.precision=float32", "heldout.images=100")
    scale = read_scale("gpu-quick", settings)
    file, on_gpu = read_study(ROOT / "scripts/gpu_study.yaml"), check.device.startswith("cuda")
    planned = plan(file, scale, [seed], compiles=False, on_gpu=on_gpu)
    store = Store(check.out / "results", check.out.parent / f"{check.out.name}-cache")
    for trial in planned.trials:
        record = run_trial(trial, store, check.device)
        print(trial.arm, seed, record.status, record.error, record.metrics, flush=True)


def further(check: Check) -> None:
    """Other models, several small trials at once, every other method: as far as time allows."""
    rows: list[dict[str, Any]] = []
    small = [Model("dit", "micro", 8, 4), Model("uvit", "micro", 8, 4), Model("cat", "micro", 8, 4)]
    large = [Model("dit", "S", 16, 256), Model("uvit", "S", 32, 128)]
    large.append(Model("cat", "S0", 32, 128))
    for model in small if check.dry else large:
        makers = {
            arm: lambda arm=arm, model=model: training(model, arm, check.device) for arm in ARMS
        }
        rows += timed(check, f"step, {model}", makers, "control", model.batch, seconds=4)
        check.table("further", rows)
    for count in (1, 2) if check.dry else (1, 4, 8, 16):
        if check.left < 40:
            return check.say(f"{NO_TIME} for further measurements")
        logs = [f"nano-{count}-{i}" for i in range(count)]
        codes = check.wait([check.child("nano", log) for log in logs], 60)
        texts = [(check.out / f"{log}.txt").read_text().split() for log in logs]
        paces = [float(t[-1]) for t, code in zip(texts, codes, strict=True) if t and code == 0]
        rows.append({"part": f"nano, {count} at once", "images_per_s": sum(paces)})
        check.say(f"nano, {count} at once: {sum(paces):.0f} images/s together, {len(paces)} ran")
        if len(paces) < count:
            check.fault(f"nano, {count} at once: {len(paces)} of {count} processes ran")
        check.table("further", rows)
    methods(check, rows)


def nano(check: Check) -> None:
    """Prints the training images per second of one nano trial."""
    model = Model("dit", "micro" if check.dry else "nano", 16, 64, patch=4)
    work = training(model, "can-3", check.device)
    work()
    if check.device.startswith("cuda"):
        torch.cuda.synchronize()
    steps, began = 0, time.time()
    while time.time() - began < (0.5 if check.dry else 8):
        work()
        steps += 1
        if check.device.startswith("cuda") and steps % 20 == 0:
            torch.cuda.synchronize()
    print(steps * model.batch / (time.time() - began))


def methods(check: Check, rows: list[dict[str, Any]]) -> None:
    """Two steps of every method in the tests at micro."""
    from specs import METHODS, model_spec

    from cabench.cost.timing import step_of

    for name in list(METHODS)[:: 12 if check.dry else 1]:
        if check.left < 15:
            return
        row: dict[str, Any] = {"part": "method at micro", "work": name}
        try:
            work = step_of(model_spec(**METHODS[name]), 32, check.device)
            row["loss"] = float([work() for _ in range(2)][-1])
        except Exception as error:
            row["error"] = f"{type(error).__name__}: {error}".splitlines()[0][:300]
            check.fault(f"{name}: {row['error']}")
        rows.append(row)
    check.table("further", rows)


# ---- the run ------------------------------------------------------------------------------------


def _code(code: int | None) -> str:
    """The end of a process, as `wait` returns it."""
    return "the time limit" if code is None else f"exit code {code}"


def _path() -> str:
    return os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))


def machine(check: Check, rate: float) -> dict[str, Any]:
    facts: dict[str, Any] = {"torch": torch.__version__, "python": platform.python_version()}
    facts |= {"device": check.device, "dry": check.dry, "matmul_tflops": rate / 1e12}
    if check.device.startswith("cuda"):
        facts |= {"gpu": torch.cuda.get_device_name(check.device), "cuda": torch.version.cuda}
    return facts


def pack(check: Check) -> None:
    """Everything so far as gpu_check.tar.gz in OUT."""
    path = check.out / "gpu_check.tar.gz"
    with tarfile.open(f"{path}.part", "w:gz") as tar:
        for file in sorted(check.out.rglob("*")):
            if file.is_file() and not file.name.startswith(path.name):
                tar.add(file, arcname=str(Path("gpu_check") / file.relative_to(check.out)))
    os.replace(f"{path}.part", path)


def run(check: Check) -> None:
    rate = matmul_rate(check.device, check.dry)
    facts = machine(check, rate)
    (check.out / "machine.json").write_text(json.dumps(facts, indent=1) + "\n")
    check.say(f"{facts}")
    short = 150 if check.dry else 85  # on a busy CPU; a GPU has 3.5 minutes for three parts
    run_parts(
        check,
        {
            "eager": lambda: eager(check, rate),
            "tests": lambda: tests(check, short),
            "compiled": lambda: compiled(check, rate),
            "study": lambda: study(check, 150 if check.dry else 200),
            "forms": lambda: forms(check),
            "further": lambda: further(check),
        },
    )


def run_parts(check: Check, parts: Mapping[str, Callable[[], None]]) -> None:
    """Runs the parts in turn, whatever becomes of each, and packs the results after each.

    The faults are in check.faults and, a line for each, in failed.txt.
    """
    for name, part in parts.items():
        check.part = name
        if check.left < 15:
            check.fault(NO_TIME)
            continue
        try:
            part()
        except Exception as error:
            with (check.out / "errors.txt").open("a") as f:
                f.write(f"{name}\n{traceback.format_exc()}\n")
            check.fault(f"{type(error).__name__}: {error}; see errors.txt")
        pack(check)
    if check.faults:
        lines = [f"{name}: {text}" for name, texts in check.faults.items() for text in texts]
        (check.out / "failed.txt").write_text("\n".join(lines) + "\n")
    check.say(f"results: {check.out / 'gpu_check.tar.gz'}")
    check.say(f"failed parts: {', '.join(check.faults) or 'none'}")
    pack(check)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dry", action="store_true", help="tiny shapes, few repetitions")
    parser.add_argument("--limit", type=float, default=480, help="seconds")
    parser.add_argument("--out", default=os.environ.get("OUT") or "gpu_check_out")
    parser.add_argument(
        "--part", help="one part alone: study, further; the others are the script's own"
    )
    parser.add_argument("--key", default="")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    out = Path(options.out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    check = Check(pick_device(options.device), options.dry, out, time.time() + options.limit)
    if check.device == "cpu":
        rehearse()
    with context_of_cpu(check.device):
        if options.part == "compile":
            compile_one(check, options.key)
        elif options.part == "trials":
            trials(check, options.seed)
        elif options.part == "nano":
            nano(check)
        elif options.part in ("study", "further"):
            part = {"study": lambda: study(check, 200), "further": lambda: further(check)}
            run_parts(check, {options.part: part[options.part]})
        else:
            run(check)
    sys.exit(1 if check.faults else 0)


if __name__ == "__main__":
    main()
