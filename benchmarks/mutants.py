"""Change one thing in the package at a time, and see whether a test notices.

    python benchmarks/mutants.py                       150 mutants, spread over all modules: an hour
    python benchmarks/mutants.py --module scan         only mutants of the modules with this name
    python benchmarks/mutants.py --site scan.py:37     every mutant of one line

The tests run in copies of the checkout, so nothing here is changed. The first call runs the tests
once (but for tests/harm and tests/slurm), to learn which test runs which line. That takes a quarter
of an hour, and if it is stopped, the next call resumes it. It is repeated only for test files that
have changed, or for all if the package has. Then each mutant is given to the tests that run its
line, the quickest first. If no test runs the line, the mutant survives.

Prints each survivor and a table. Exits with 1 if less than 97 % of the mutants are killed. Mutants
that nobody can notice belong in equivalent.toml, with the reason. Run this as an ordinary user: the
code that deletes files is changed too. Needs the extra `test` of pyproject.toml.
"""

import argparse
import contextlib
import faulthandler
import hashlib
import json
import os
import queue
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import tomllib
from mutations import Mutant, find_mutants

REPOSITORY = Path(__file__).absolute().parent.parent
PACKAGE = "workflow/dinov3_metadata"
CACHE = REPOSITORY / ".pytest_cache/mutants.json"
GOAL = 0.97  # share of the mutants, without the equivalent ones, that the tests must kill
PATIENCE = 60  # seconds for a test, besides a multiple of what it usually takes
LEAST = 3  # mutants of a module, if it has as many


def sample(found: dict[str, list[Mutant]], number: int, seed: int) -> list[Mutant]:
    """Draw mutants of each module: as many as it has sites in proportion, but a few at least.

    Which ones depends only on ``seed``, and on the path and the sites of the module.
    """
    total = sum(map(len, found.values()))
    least = min(LEAST, number // max(1, len(found)))
    shares = {
        name: min(len(mutants), max(least, round(number * len(mutants) / total)))
        for name, mutants in found.items()
    }
    while sum(shares.values()) > number:
        shares[max(shares, key=shares.__getitem__)] -= 1
    return [
        mutant
        for name, mutants in found.items()
        for mutant in sorted(random.Random(f"{seed} {name}").sample(mutants, shares[name]))
    ]


class Test(NamedTuple):
    """What is known of a test."""

    seconds: float
    lines: dict[str, list[int]]  # module -> the lines that the test runs


class Copy:
    """A copy of the checkout, in which one pytest at a time runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log, self.plan = Path(f"{folder}.log"), Path(f"{folder}.plan")
        self.clock = int(time.time())
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        for name in subprocess.check_output(command, cwd=REPOSITORY, text=True).split("\0"):
            if name and (REPOSITORY / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(REPOSITORY / name, folder / name)
        subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
        subprocess.run(["git", "add", "--all"], cwd=folder, check=True)  # tests ask for the files

    def write(self, path: str, source: bytes) -> None:
        """Write a module of the package.

        Python believes a compiled file if the source has the same size and was changed in the same
        second. So each source has a second of its own.
        """
        file = self.folder / path
        file.write_bytes(source)
        self.clock += 1
        os.utime(file, (self.clock, self.clock))

    def pytest(self, *options: str, seconds: float | None = None, **variables: object) -> int:
        """Run pytest and return its exit code, or -9 if it takes too long."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        environment["PYTHONPATH"] = f"{self.folder}/workflow{os.pathsep}{self.folder}/benchmarks"
        # A folder that a killed test left read-only cannot be removed, so each has another name.
        temporary = tempfile.mkdtemp(dir=self.folder.parent)
        environment["TMPDIR"] = temporary
        environment |= {name: str(value) for name, value in variables.items()}
        command = [sys.executable, "-m", "pytest", "-q", "-p", "mutants", "-p", "no:cacheprovider"]
        command += ["--hypothesis-profile=ci", *options]  # the same examples each time
        with open(self.log, "wb") as log:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            return -signal.SIGKILL
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with all that it started
            process.wait()
            shutil.rmtree(temporary, ignore_errors=True)

    def run(self, tests: dict[str, Test], *options: str, **variables: object) -> int:
        """Run these tests in this order. Each has several times as long as it usually takes."""
        self.plan.write_text(
            json.dumps({name: PATIENCE + 5 * test[0] for name, test in tests.items()})
        )
        files = dict.fromkeys(name.split("::")[0] for name in tests)
        limit = 2 * PATIENCE + 3 * sum(test.seconds for test in tests.values())
        return self.pytest(
            "-n0", *options, *files, seconds=limit, MUTANTS_PLAN=self.plan, **variables
        )

    def why_failed(self, code: int) -> str:
        """Return which test failed in the last pytest."""
        said = self.log.read_text(errors="replace")
        if code == -signal.SIGKILL or re.search(r"^Timeout \(", said, re.MULTILINE):
            return "the time limit"
        test = re.search(r"^(?:FAILED|ERROR) (.*?)(?: - |$)", said, re.MULTILINE)
        return test[1] if test else f"exit code {code}"

    def read(self, notes: Path) -> dict[str, Any]:
        """Return what a pytest noted about its tests."""
        if not notes.exists():
            sys.exit(f"{self.log.read_text()}\nThe tests did not run.")
        noted = json.loads(notes.read_text())
        notes.unlink()
        return noted


# This file is a plugin of pytest too. It sorts the tests and limits their time, tells coverage
# which test runs, and notes how long each takes and whether it fails.

SHOWN = os.dup(2) if "MUTANTS_PLAN" in os.environ else 2  # before pytest captures what is written
seconds_of: Counter[str] = Counter()
failed: set[str] = set()


def planned() -> dict[str, float]:
    """Return the tests to run, in order, and the seconds that each may take."""
    path = os.environ.get("MUTANTS_PLAN")
    return json.loads(Path(path).read_text()) if path else {}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of the plan, in its order."""
    if order := {name: i for i, name in enumerate(planned())}:
        kept = [item for item in items if item.nodeid in order]
        items[:] = sorted(kept, key=lambda item: order[item.nodeid])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """End the process if a test takes too long; tell coverage which test it is."""
    if limit := planned().get(item.nodeid):
        faulthandler.dump_traceback_later(limit, exit=True, file=SHOWN)
    if "COVERAGE_PROCESS_START" in os.environ:
        import coverage

        if measured := coverage.Coverage.current():
            measured.switch_context(item.nodeid)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note how long a test takes, and whether it fails."""
    seconds_of[report.nodeid] += report.duration
    if report.failed:
        failed.add(report.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write what was noted, once for all processes."""
    path = os.environ.get("MUTANTS_NOTES")
    if path and not hasattr(session.config, "workerinput"):
        Path(path).write_text(json.dumps({"seconds": seconds_of, "failed": sorted(failed)}))


def quickest_first(tests: dict[str, Test]) -> dict[str, Test]:
    """Return the tests by the time that they take."""
    return dict(sorted(tests.items(), key=lambda item: item[1].seconds))


def measure(copy: Copy, file: str, jobs: int) -> dict[str, Test]:
    """Run a test file, and return what is known of those tests that pass."""
    import coverage

    data, notes = Path(f"{copy.folder}.coverage"), Path(f"{copy.folder}.notes")
    config = Path(f"{copy.folder}.coveragerc")
    config.write_text(
        f"[run]\ndata_file = {data}/data\ninclude = */{PACKAGE}/*\n"
        "context = ${PYTEST_CURRENT_TEST}\n"  # in processes that a test starts
        "parallel = true\nsigterm = true\npatch = _exit\n"
        "disable_warnings = no-data-collected, module-not-measured\n"
    )
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir()
    copy.pytest(f"-n{jobs}", file, COVERAGE_PROCESS_START=config, MUTANTS_NOTES=notes)
    ran = copy.read(notes)
    lines: dict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for part in data.iterdir():
        measured = coverage.CoverageData(str(part))
        try:
            measured.read()
        except coverage.CoverageException:
            continue  # of a process that was killed
        for path in measured.measured_files():
            module = f"{PACKAGE}/" + path.rpartition(f"/{PACKAGE}/")[2]
            for line, contexts in measured.contexts_by_lineno(path).items():
                for context in contexts:
                    name = re.sub(r" \((setup|call|teardown)\)$", "", context)
                    lines[name][module].add(line)
    for name in ran["failed"]:
        print(f"Left out, as it fails without a mutant: {name}", flush=True)
    return {
        name: Test(round(seconds, 3), {module: sorted(few) for module, few in lines[name].items()})
        for name, seconds in ran["seconds"].items()
        if name not in ran["failed"]
    }


def digest(paths: Iterable[Path]) -> str:
    """Return a digest of files and their names."""
    total = hashlib.sha256()
    for path in sorted(paths):
        if path.is_file() and path.suffix != ".pyc":
            total.update(f"{path.relative_to(REPOSITORY)}\0{path.stat().st_size}\0".encode())
            total.update(path.read_bytes())
    return total.hexdigest()


def read_tests(copy: Copy, jobs: int) -> dict[str, Test]:
    """Return what is known of each test, and measure those in new and in changed files."""
    folders = [REPOSITORY / "tests", REPOSITORY / "tests/workflow"]
    files = {path for folder in folders for path in folder.glob("test_*.py")}
    helpers = {path for folder in folders for path in folder.glob("*")} - files
    rules = {REPOSITORY / "Snakefile", *REPOSITORY.glob("rules/*")}
    package = digest(helpers | rules | {*(REPOSITORY / "workflow").rglob("*")})
    digests = {str(path.relative_to(REPOSITORY)): digest([path]) for path in sorted(files)}
    known = json.loads(CACHE.read_text()) if CACHE.exists() else {}
    if known.get("package") != package:
        known = {"package": package, "files": {}}
    current = {name: known["files"].get(name, {"digest": "", "tests": {}}) for name in digests}
    stale = [name for name in digests if current[name]["digest"] != digests[name]]
    CACHE.parent.mkdir(exist_ok=True)
    for i, name in enumerate(stale, 1):
        print(f"{i}/{len(stale)} learning which lines {name} runs", flush=True)
        current[name] = {"digest": digests[name], "tests": measure(copy, name, jobs)}
        CACHE.write_text(json.dumps({"package": package, "files": current}))
    tests = {name: Test(*test) for file in current.values() for name, test in file["tests"].items()}
    if not any(test.lines for test in tests.values()):
        sys.exit("Nothing is known of the lines that the tests run.")
    return tests


def attempt(
    mutant: Mutant, copies: queue.Queue[Copy], tests: dict[str, Test], budget: float
) -> tuple[bool, str]:
    """Return whether a test notices a mutant, and which; or how many do not."""
    lines = {name: test.lines.get(mutant.path, ()) for name, test in tests.items()}
    able = {name: tests[name] for name in tests if not mutant.runs.isdisjoint(lines[name])}
    asked: dict[str, Test] = {}
    for name, test in able.items():
        budget -= test.seconds
        if budget > 0 or not asked:
            asked[name] = test
    if not asked:
        return False, "no test runs this line"
    source = (REPOSITORY / mutant.path).read_bytes()
    copy = copies.get()
    try:
        copy.write(mutant.path, mutant.apply(source))
        code = copy.run(asked, "-x")
        if code in (0, 5):  # 5: all were left out
            return False, f"{len(asked)} of {len(able)} tests run"
        return True, copy.why_failed(code)
    finally:
        copy.write(mutant.path, source)
        copies.put(copy)


def fail_anyway(copy: Copy, killers: dict[str, Test]) -> set[str]:
    """Return which of the tests that killed a mutant fail without one too."""
    notes = Path(f"{copy.folder}.notes")
    if killers:
        copy.run(killers, MUTANTS_NOTES=notes)
    return set(copy.read(notes)["failed"]) if notes.exists() else set()


def read_equivalent() -> set[tuple[str, str]]:
    """Return the equivalent mutants: the function around each, and its change."""
    path = Path(__file__).with_name("equivalent.toml")
    entries = tomllib.loads(path.read_text()).get("mutant", [])
    return {(entry["within"], entry["change"]) for entry in entries if entry["reason"]}


def choose(options: argparse.Namespace) -> list[Mutant]:
    """Return the mutants that the command line asks for."""
    found: dict[str, list[Mutant]] = {}
    for path in sorted((REPOSITORY / PACKAGE).rglob("*.py")):
        name = path.relative_to(REPOSITORY).as_posix()
        mutants = find_mutants(path.read_bytes(), name)
        if options.module in (None, path.stem) and mutants:
            found[name] = mutants
    if not options.site:
        return sample(found, options.mutants, options.seed)
    file, _, line = options.site.rpartition(":")
    mutants = [mutant for each in found.values() for mutant in each if mutant.line == int(line)]
    return [mutant for mutant in mutants if f"/{mutant.path}".endswith(f"/{file}")]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mutants", type=int, default=150, help="how many (default: 150)")
    parser.add_argument("--seed", type=int, default=0, help="another number draws other mutants")
    parser.add_argument("--jobs", type=int, default=2, help="at the same time (default: 2)")
    parser.add_argument("--module", help="only those of modules with this name, such as scan")
    parser.add_argument("--site", metavar="FILE:LINE", help="all mutants of this line instead")
    parser.add_argument(
        "--budget", type=float, default=120, help="seconds of tests for a mutant (default: 120)"
    )
    options = parser.parse_args()
    start = time.monotonic()
    drawn, equivalent = choose(options), read_equivalent()
    if not drawn:
        sys.exit("There is nothing to change there.")
    todo = [mutant for mutant in drawn if (mutant.within, mutant.change) not in equivalent]
    outcomes: dict[Mutant, tuple[bool, str]] = {}
    with tempfile.TemporaryDirectory(prefix="mutants-", ignore_cleanup_errors=True) as scratch:
        copies: queue.Queue[Copy] = queue.Queue()
        for i in range(options.jobs):
            copies.put(Copy(Path(scratch, str(i))))
        tests = quickest_first(read_tests(copies.queue[0], options.jobs))
        for copy in copies.queue:
            if copy.run(dict(list(tests.items())[:50])):
                sys.exit(f"{copy.log.read_text()}\nTests fail without a mutant.")
        with ThreadPoolExecutor(options.jobs) as pool:
            results = pool.map(lambda one: attempt(one, copies, tests, options.budget), todo)
            for mutant, (killed, note) in zip(todo, results, strict=True):
                outcomes[mutant] = killed, note
                outcome = "killed" if killed else "survived"
                print(f"{len(outcomes)}/{len(todo)} {outcome}: {mutant} ({note})", flush=True)
        killers = tests.keys() & {note for _, note in outcomes.values()}
        unsure = fail_anyway(copies.get(), {name: tests[name] for name in killers})

    table: dict[str, Counter[str]] = {mutant.path: Counter() for mutant in drawn}
    print("\nSurvivors:")
    for mutant in drawn:
        killed, note = outcomes.get(mutant, (False, ""))
        if note in unsure:
            killed, note = False, f"{note} fails without it too"
        if mutant not in outcomes:
            outcome = "equivalent"
        elif killed:
            outcome = "killed"
        else:
            outcome = "survived"
            print(f"{mutant}\n    within {mutant.within or 'no function'}; {note}")
        table[mutant.path].update(["tried", outcome])
    columns = ("tried", "killed", "survived", "equivalent")
    print(f"\n| module | {' | '.join(columns)} |")
    print("|---" * 5 + "|")
    table["all"] = sum(table.values(), Counter())
    for name, counts in table.items():
        print(f"| {name} | {' | '.join(str(counts[column]) for column in columns)} |")
    share = table["all"]["killed"] / len(todo) if todo else 1
    minutes = (time.monotonic() - start) / 60
    print(f"\n{share:.1%} killed (goal: {GOAL:.0%}), in {minutes:.0f} minutes")
    return int(share < GOAL)


if __name__ == "__main__":
    sys.exit(main())
