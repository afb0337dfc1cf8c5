"""Measure the search for duplicates: `python benchmarks/duplicates.py [FOLDER]`.

It compares 1,281,167 images of TRAIN and 50,000 of VAL, whose hashes are made up: all scattered, or
300,000 of them in clumps, as those of scanned pages and plain backgrounds are. The tables of their
audits have 130 MB. Each search is a process of its own, and compares everything, as one after 1,000
new images does.
"""

import json
import shutil
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
from dinov3_metadata.artefacts import Scan
from dinov3_metadata.documents import Count
from dinov3_metadata.formats import AUDIT_ROW, AuditSummary, read_duplicates_summary
from dinov3_metadata.paths import folder_of, path_of
from dinov3_metadata.stages.duplicates import find_duplicates
from run import IMAGES_1K, PYTHON, run

CLUMPED = 300_000  # of TRAIN, and as large a part of VAL
CENTRES = np.random.default_rng(1).integers(1, 2**63, 100).astype("u8")
STATE = {"tree": f"1-folders-{'0' * 12}", "numbered": "own", "audit": "0" * 12}


def clump(random: np.random.Generator, centres: int, flips: int) -> np.ndarray:
    """Return hashes that differ in at most ``flips`` bits from one of some centres, which are those
    of both splits."""
    hashes = random.choice(CENTRES[:centres], CLUMPED)
    for _ in range(flips):
        hashes ^= np.uint64(1) << random.integers(0, 64, CLUMPED).astype("u8")
    return hashes


KINDS = {
    "scattered": lambda random: random.integers(1, 2**63, CLUMPED).astype("u8"),
    "one clump, up to 4 bits from its centre": lambda random: clump(random, 1, 4),
    "one clump, up to 6 bits": lambda random: clump(random, 1, 6),
    "100 clumps, up to 4 bits": lambda random: clump(random, 100, 4),
    "all zero but for 24 bits": lambda random: random.integers(1, 2**24, CLUMPED).astype("u8"),
    "all zero but for 40 bits": lambda random: random.integers(1, 2**40, CLUMPED).astype("u8"),
}


def make_tables(extra: Path, kind: str) -> None:
    """Write what the audits of two splits leave."""
    random = np.random.default_rng(0)
    for split in ("TRAIN", "VAL"):
        images = IMAGES_1K[split]
        rows = np.zeros(images, AUDIT_ROW)
        rows["actual_index"], rows["width"] = np.arange(images), 64
        rows["sha256"] = np.frombuffer(random.bytes(32 * images), "V32")
        rows["phash"] = random.integers(1, 2**64, images, "u8")
        part = CLUMPED * images // IMAGES_1K["TRAIN"]
        rows["phash"][:part] = KINDS[kind](random)[:part]
        random.shuffle(rows["phash"])
        state = {**STATE, "split": split}
        for name in ("scan", "audit_summary"):
            Path(folder_of(extra, name, **state)).mkdir(parents=True, exist_ok=True)
        index = rows["actual_index"].copy()
        Scan(np.array(["a"]), np.array([images]), index, np.array([""]), np.zeros(1, int)).save(
            path_of(extra, "scan", **state)
        )
        np.save(path_of(extra, "audit_table", **state), rows)
        none = Count(0)
        summary = AuditSummary(
            split=split,
            root="/",
            audited="",
            images=Count(images),
            ok=none,
            problems={},
            modes={},
            formats={},
            pillow="",
            code="",
        )
        for name in ("audit_list", "audit_summary"):
            Path(path_of(extra, name, **state)).write_text(json.dumps(asdict(summary)))


def search(extra: str) -> None:
    """Search once, and print the seconds that it took."""
    states = {split: {**STATE, "split": split} for split in ("TRAIN", "VAL")}
    compared = path_of(extra, "compared", search="0" * 12)
    Path(compared).parent.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    find_duplicates(
        compared=compared,
        search="0" * 12,
        extra=extra,
        root="/",
        states=states,
        files={split: {"scan": path_of(extra, "scan", **states[split])} for split in states},
        splits=[*states],
        audit=STATE["audit"],
        standing="0" * 12,
        fail_on=[],
    )
    print(f"{time.perf_counter() - start:.6f}")


def main(work: Path) -> None:
    """Print a table: what the hashes are, seconds, MB above the tables, and what was found."""
    for kind in KINDS:
        extra = work / "extra"
        make_tables(extra, kind)
        tables = sum(path.stat().st_size for path in extra.glob("*.npy")) / 1e6
        took = run(PYTHON, __file__, "--search", extra)
        found = read_duplicates_summary(extra)
        assert found
        of_train, both = found.splits["TRAIN"], found.pairs["TRAIN-VAL"]
        print(
            f"| {kind} | {took.inside:.1f} s | {took.megabytes - tables:,.0f} MB | "
            f"{of_train.near_groups:,} groups of {of_train.near_images:,} | {both.near:,} |",
            flush=True,
        )
        shutil.rmtree(extra)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--search"]:
        search(sys.argv[2])
    else:
        with tempfile.TemporaryDirectory(dir=sys.argv[1] if sys.argv[1:] else None) as folder:
            main(Path(folder))
