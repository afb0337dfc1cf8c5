"""Measure every goal as a ratio, in one run and on the same trees.

    python benchmarks/run.py --quick     two minutes, small trees: ratios are rough
    python benchmarks/run.py             ImageNet-1k and ImageNet-22k in size: 40 minutes, 10 GB

Prints a table of medians, and draws time against size: benchmarks/time.png or time-quick.png.
Needs the package to be installed, for its dependencies, and a C compiler.
"""

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from statistics import median
from typing import NamedTuple

HERE = Path(__file__).absolute().parent
sys.path.insert(0, str(HERE.parent / "workflow"))  # this checkout, whatever is installed

from dinov3_metadata.addresses import TARS, image_name  # noqa: E402
from dinov3_metadata.paths import array_names  # noqa: E402
from trees import build, build_tars, class_id  # noqa: E402

PYTHON = sys.executable
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
ENVIRONMENT["PYTHONPATH"] = sys.path[0]
CLASSES_1K, CLASSES_22K = 1_000, 21_841
IMAGES_1K = {"TRAIN": 1_281_167, "VAL": 50_000, "TEST": 100_000}
IMAGES_22K = {"TRAIN": 14_197_122}
SIZES = [10**4, 10**5, 10**6]  # images, on the way to ImageNet-22k
SLOW = {"TRAIN": 64_000}


class Run(NamedTuple):
    """The measurements of one process and the processes that it started."""

    seconds: float  # from start to end
    inside: float  # as printed by the process: only the work itself
    megabytes: float  # resident memory of the largest process
    cpu: float  # seconds on a processor, of all processes


Row = tuple[str, str, str, str, str, str]
"""What was measured, our figure, the other figure, their ratio, the goal, the runs of each."""


def run(*command: object, cwd: Path | None = None) -> Run:
    """Run a command and measure it. Before, sync everything that was written to the disk."""
    os.sync()
    with tempfile.TemporaryFile("w+") as out:
        start = time.perf_counter()
        process = subprocess.Popen(
            [*map(str, command)], stdout=out, stderr=subprocess.STDOUT, cwd=cwd, env=ENVIRONMENT
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        said = out.read()
    if process.returncode:
        sys.exit(f"{said}\nfailed: {process.args}")
    printed = re.search(r"^\d+\.\d+$", said, re.MULTILINE)
    inside = float(printed[0]) if printed else seconds
    return Run(seconds, inside, usage.ru_maxrss / 1e3, usage.ru_utime + usage.ru_stime)


def alternate(times: int, contenders: dict[str, Callable[[], Run]]) -> dict[str, list[Run]]:
    """Run the contenders in turn, several times. Each round begins with another contender."""
    runs: dict[str, list[Run]] = {name: [] for name in contenders}
    names = list(contenders)
    for i in range(times):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            runs[name].append(contenders[name]())
            print(f"  {name}: {runs[name][-1].inside:.2f} s", file=sys.stderr)
    return runs


def seconds(runs: list[Run]) -> list[float]:
    """Return the whole times."""
    return [run.seconds for run in runs]


def inside(runs: list[Run]) -> list[float]:
    """Return the times without imports."""
    return [run.inside for run in runs]


def compare(what: str, ours: list[float], other: list[float], goal: float) -> Row:
    """Return a row with the medians of two lists of times in seconds."""
    our, their = median(ours), median(other)
    return what, f"{our:.2f} s", f"{their:.2f} s", f"{our / their:.3f}", f"≤ {goal}", f"{len(ours)}"


class Bench:
    """A tree, and the contenders that can run on it."""

    def __init__(self, work: Path, name: str, classes: int, images: dict[str, int]) -> None:
        self.root, self.images = work / name, images
        self.extra, self.workdir, self.other = (work / f"{name}-{i}" for i in range(3))
        for folder in (self.extra, self.workdir, self.other):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        print(f"{name}: {classes:,} classes, {images}", file=sys.stderr)
        build(self.root, classes, images)
        self.floor_program = work / "floor"
        subprocess.run(["cc", "-O2", "-o", self.floor_program, HERE / "floor.c"], check=True)

    def library(self) -> Run:
        self.empty(self.extra)
        return run(PYTHON, HERE / "library.py", self.root, self.extra, "TRAIN")

    def baseline(self, *splits: str) -> Run:
        self.empty(self.other)
        return run(PYTHON, HERE / "baseline.py", self.root, self.other, *splits or ["TRAIN"])

    def floor(self) -> Run:
        """Run the kernel calls alone. They write as many bytes as ours did in the first round."""
        written = sum(path.stat().st_size for path in self.extra.glob("*-TRAIN.npy"))
        self.empty(self.workdir)
        return run(self.floor_program, self.root / "train", self.workdir / "bytes", written)

    def slow(self, threads: int) -> Run:
        return run(PYTHON, HERE / "slow.py", self.root, threads)

    def snakemake(self) -> Run:
        splits = f"splits=[{','.join(self.images)}]"
        command = [PYTHON, "-m", "snakemake", "-s", HERE.parent / "Snakefile", "--cores", 2]
        command += ["--config", f"root={self.root}", f"extra={self.extra}", splits]
        return run(*command, cwd=self.workdir)

    def cold(self) -> Run:
        self.empty(self.extra)
        self.empty(self.workdir)
        return self.snakemake()

    def edited(self) -> Run:
        """Run with one new image, which is removed again afterwards; all else is up to date."""
        self.snakemake()
        image = self.root / "train" / class_id(7) / image_name("TRAIN", class_id(7), 10**9)
        image.touch()
        try:
            return self.snakemake()
        finally:
            image.unlink()

    def empty_chain(self) -> Run:
        splits = f"splits=[{','.join(self.images)}]"
        command = [PYTHON, "-m", "snakemake", "-s", HERE / "empty/Snakefile", "--cores", 2]
        # Our own Snakefile is beside its profile, which Snakemake therefore reads by itself.
        command += ["--workflow-profile", HERE.parent / "profiles/default"]
        return run(*command, "--config", splits, cwd=self.other)

    def folders_listed(self) -> int:
        """Return how many folders of TRAIN the last scan listed."""
        (log,) = self.extra.glob(".dinov3-metadata/TRAIN/*/scan.log")
        return int(re.findall(r"; (\d+) of [\d,]+ folders? listed", log.read_text())[-1])

    @staticmethod
    def empty(folder: Path) -> None:
        shutil.rmtree(folder)
        folder.mkdir()


def same_bytes(bench: Bench, *splits: str) -> None:
    """Stop unless the baseline wrote the same bytes as our stages."""
    for split in splits:
        for name in array_names(split):
            subprocess.run(["cmp", bench.other / name, bench.extra / name], check=True)


def contenders(bench: Bench) -> dict[str, Callable[[], Run]]:
    """Return the three ways to make the metadata of TRAIN. The floor writes as much as ours did."""
    return {"ours": bench.library, "floor": bench.floor, "baseline": bench.baseline}


def imagenet_1k(bench: Bench, times: int) -> list[Row]:
    """Return the rows that are measured at the size of ImageNet-1k."""
    runs = alternate(times, contenders(bench))
    same_bytes(bench, "TRAIN")
    ours = inside(runs["ours"])
    images = f"{bench.images['TRAIN']:,} images"
    rows = [
        compare(f"library, {images}, against the baseline", ours, inside(runs["baseline"]), 0.08),
        compare(f"library, {images}, against the floor", ours, seconds(runs["floor"]), 3),
    ]
    runs = alternate(
        times,
        {
            "baseline": lambda: bench.baseline(*bench.images),
            "edited": bench.edited,
            "cold": bench.cold,
        },
    )
    bench.edited()
    listed = bench.folders_listed()
    bench.snakemake()
    same_bytes(bench, *bench.images)
    cold = seconds(runs["cold"])
    rows += [
        compare(
            "`snakemake`, cold, three splits, against the script",
            cold,
            seconds(runs["baseline"]),
            0.15,
        ),
        compare(
            f"`snakemake`, one class edited ({listed} folder listed), against cold",
            seconds(runs["edited"]),
            cold,
            0.8,
        ),
        nothing_to_do(bench, times, 1.06),
    ]
    return rows


def opening(bench: Bench, times: int) -> list[Row]:
    """Compare our dataset with ImageFolder: opening, memory in workers, access to the index."""
    bench.snakemake()
    images = f"{bench.images['TRAIN']:,} images"
    rows = []
    for mode, what, unit, factor, goal in (
        ("first", f"open {images} and read the first", "ms", 1e3, "≤ 0.001"),
        ("workers", f"unique memory of each of 10 workers, {images}", "MB", 1, "≤ 0.02"),
        ("access", "random access to path and class_index", "µs", 1e6, "–"),
    ):
        runs = alternate(
            times,
            {
                who: lambda who=who, mode=mode: run(
                    PYTHON, "-W", "ignore", HERE / "open.py", who, bench.root, bench.extra, mode
                )
                for who in ("ours", "ImageFolder")
            },
        )
        our, their = (median(inside(runs[who])) * factor for who in ("ours", "ImageFolder"))
        figures = f"{our:,.3g} {unit}", f"{their:,.3g} {unit}", f"{our / their:.5f}"
        rows.append((f"{what}, against ImageFolder", *figures, goal, str(times)))
    return rows


def checking(bench: Bench, times: int) -> list[Row]:
    """Compare a check of the files of all splits with a scan of the same splits."""
    bench.snakemake()
    runs = alternate(
        times,
        {
            what: lambda what=what: run(PYTHON, HERE / "checking.py", what, bench.root, bench.extra)
            for what in ("check", "scan")
        },
    )
    images = f"{sum(bench.images.values()):,} images"
    ours, other = (max(run.megabytes for run in runs[what]) for what in ("check", "scan"))
    figures = f"{ours:,.0f} MB", f"{other:,.0f} MB", f"{ours / other:.3f}"
    return [
        compare(
            f"`check`, {images}, against a scan", inside(runs["check"]), inside(runs["scan"]), 2.5
        ),
        (f"`check`, {images}: largest process", *figures, "≤ 200 MB", str(times)),
    ]


def slow_file_system(bench: Bench, times: int) -> Row:
    """Compare a scan in many threads with one in a single thread, if folders open 5 ms later."""
    runs = alternate(times, {"1": lambda: bench.slow(1), "16": lambda: bench.slow(16)})
    single, many = (inside(runs[threads]) for threads in ("1", "16"))
    what = f"scan, each folder opens 5 ms later, {bench.images['TRAIN']:,} images, 16 threads"
    return compare(f"{what} against 1", many, single, 0.1)


def tars(work: Path, classes: int, images: int, times: int) -> list[Row]:
    """Return the rows of datasets of tars."""
    root, ours, other = work / f"tars-{images}", work / "tars-ours", work / "tars-other"
    build_tars(root, classes, images)

    def emptied(folder: Path) -> Path:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    runs = alternate(
        times,
        {
            "ours": lambda: run(PYTHON, HERE / "tar_library.py", root, emptied(ours)),
            "GNU tar": lambda: run(PYTHON, HERE / "tar_baseline.py", root, emptied(other)),
        },
    )
    for name in array_names(TARS):
        subprocess.run(["cmp", ours / name, other / name], check=True)
    slow = alternate(
        times,
        {
            threads: lambda threads=threads: run(
                PYTHON, HERE / "tar_library.py", root, threads, "slow"
            )
            for threads in ("1", "16")
        },
    )
    what = f"tars, {images:,} images in {classes:,}"
    our, their = (max(one.megabytes for one in runs[who]) for who in ("ours", "GNU tar"))
    memory = f"{our:,.0f} MB", f"{their:,.0f} MB", f"{our / their:.3f}"
    cpu = ([one.cpu for one in runs[who]] for who in ("ours", "GNU tar"))
    return [
        compare(f"{what}, against `tar -tR`", inside(runs["ours"]), inside(runs["GNU tar"]), 0.15),
        compare(f"{what}: processor, against `tar -tR`", *cpu, 0.15),
        (f"{what}: largest process", *memory, "≤ 200 MB", f"{times}"),
        compare(
            f"{what}, read with 5 ms a call, 16 threads against 1",
            inside(slow["16"]),
            inside(slow["1"]),
            0.1,
        ),
    ]


def nothing_to_do(bench: Bench, times: int, goal: float) -> Row:
    """Compare our chain with an empty one when everything is up to date."""
    bench.empty(bench.other)
    bench.empty_chain()
    bench.snakemake()
    runs = alternate(2 * times, {"ours": bench.snakemake, "empty chain": bench.empty_chain})
    classes = len(list((bench.root / "train").iterdir()))
    what = f"`snakemake`, nothing to do, {classes:,} classes, against an empty chain"
    return compare(what, seconds(runs["ours"]), seconds(runs["empty chain"]), goal)


def imagenet_22k(bench: Bench, times: int) -> tuple[list[Row], dict[str, list[Run]]]:
    """Return the rows that are measured at the size of ImageNet-22k, and the runs for the plot."""
    runs = alternate(times, contenders(bench))
    same_bytes(bench, "TRAIN")
    images = f"{bench.images['TRAIN']:,} images"
    ours, other = inside(runs["ours"]), inside(runs["baseline"])
    rows = [compare(f"library, {images}, against the baseline", ours, other, 0.06)]
    other = max(run.megabytes for run in runs["baseline"])
    for what, measured in {"library": runs["ours"], "`snakemake`, cold": [bench.cold()]}.items():
        size = max(run.megabytes for run in measured)
        texts = f"{size:,.0f} MB", f"{other:,.0f} MB", f"{size / other:.3f}", "≤ 400 MB"
        rows.append((f"{what}, {images}: largest process", *texts, str(len(measured))))
    return [*rows, nothing_to_do(bench, times, 1.4)], runs


def growth(work: Path, sizes: list[int], times: int) -> dict[int, dict[str, list[Run]]]:
    """Return the runs by number of images, below ImageNet-22k, with classes as large as there."""
    points = {}
    for size in sizes:
        classes = size * CLASSES_22K // IMAGES_22K["TRAIN"]
        bench = Bench(work, f"growth-{size}", classes, {"TRAIN": size})
        points[size] = alternate(times, contenders(bench))
        same_bytes(bench, "TRAIN")
    return points


def draw(points: dict[int, dict[str, list[Run]]], path: Path) -> None:
    """Draw time against size."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    colors = {"baseline": "#b0552f", "ours": "#1f6f8b", "floor": "#8a8a8a"}
    texts = {
        "baseline": "script around ImageFolder",
        "ours": "dinov3-metadata, with all checks",
        "floor": "kernel alone: list and write",
    }
    places = {"baseline": (8, -3), "ours": (8, 3), "floor": (8, -11)}  # in points
    for name, color in colors.items():
        times = [median(inside(runs[name])) for runs in points.values()]
        axes.loglog(list(points), times, "o-", color=color, label=texts[name])
        end = (max(points), times[-1])
        text = f"{times[-1]:,.3g} s"
        axes.annotate(text, end, places[name], textcoords="offset points", color=color)
    axes.set_xlabel("images")
    axes.set_ylabel("seconds")
    axes.margins(x=0.12)
    axes.grid(which="major", color="#dddddd")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=160)


def machine() -> str:
    """Return today's date and a description of this machine."""
    cpu = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{date.today().isoformat()}, {cpu[1] if cpu else platform.processor()}, "
        f"{os.cpu_count()} cores, {memory:.0f} GiB, Linux {platform.release()}, "
        f"Python {platform.python_version()}"
    )


def main() -> None:
    """Build the trees, measure, print the table and draw the plot."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small trees, under two minutes")
    parser.add_argument("--times", type=int, help="runs of each contender (5; 1 if quick)")
    parser.add_argument("--work", type=Path, help="a folder where the trees are kept for next time")
    options = parser.parse_args()
    times = options.times or (1 if options.quick else 5)
    images_1k, images_22k, sizes = IMAGES_1K, IMAGES_22K, SIZES
    if options.quick:
        images_1k = {split: images // 20 for split, images in IMAGES_1K.items()}
        images_22k = {"TRAIN": 5 * CLASSES_22K}
        sizes = [10**4]
    with tempfile.TemporaryDirectory(prefix="dinov3-metadata-") as temporary:
        work = (options.work or Path(temporary)).absolute()
        work.mkdir(parents=True, exist_ok=True)
        size = "-quick" if options.quick else ""
        bench = Bench(work, f"1k{size}", CLASSES_1K, images_1k)
        rows = imagenet_1k(bench, times)
        rows.append(slow_file_system(Bench(work, "slow", CLASSES_1K, SLOW), times))
        rows.append(slow_file_system(bench, times))
        rows += opening(bench, times)
        rows += checking(bench, times)
        rows += tars(work, CLASSES_1K, images_1k["TRAIN"], times)
        points = growth(work, sizes, times)
        bench = Bench(work, f"22k{size}", CLASSES_22K, images_22k)
        more, points[images_22k["TRAIN"]] = imagenet_22k(bench, -(-times // 2))
    print(f"{machine()}\n")
    print("| what | ours | against | ratio | goal | runs |\n|---|---|---|---|---|---|")
    for row in [*rows, *more]:
        print(f"| {' | '.join(row)} |")
    draw(points, HERE / f"time{size}.png")


if __name__ == "__main__":
    main()
