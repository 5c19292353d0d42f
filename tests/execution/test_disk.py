"""A full disk or a read-only folder: one line that names the file; then the same command resumes.

On small file systems in memory, which root may mount; skipped for others.
"""

import os
import re
import subprocess
import tempfile
from pathlib import Path

import pytest
from cli import Done, cabench, spawn
from runs import COMMAND, outcome

from cabench.execution.assets import ASSETS
from cabench.runtime.files import PART

pytestmark = pytest.mark.slow

PAGE = os.sysconf("SC_PAGE_SIZE")
ROOM = 64 * 2**20  # bytes: far more than a run of the tiny study takes


class Disk:
    """A file system whose free space is set as one likes."""

    def __init__(self, path: Path):
        self.path = path
        self._mount("-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs")
        (path / "ballast").write_bytes(b"x" * PAGE)  # size 0 would mean no limit

    def leave(self, free: int) -> None:
        """Room for `free` more bytes."""
        actual = os.statvfs(self.path)
        used = (actual.f_blocks - actual.f_bfree) * actual.f_frsize
        self._mount("-o", f"remount,size={used + free}")

    def read_only(self, on: bool) -> None:
        self._mount("-o", f"remount,{'ro' if on else 'rw'}")

    def _mount(self, *words: str) -> None:
        subprocess.run(["mount", *words, self.path], check=True, capture_output=True, text=True)


@pytest.fixture
def disk(tiny):
    """Mounted where the tiny study's results and cache go."""
    (tiny / "disk").mkdir()
    try:
        small_disk = Disk(tiny / "disk")
    except FileNotFoundError:
        pytest.skip("there is no mount here")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no file system can be mounted: {error.stderr.strip()}")
    yield small_disk
    subprocess.run(["umount", "--lazy", small_disk.path], check=True)


ARGUMENTS = (
    "--executor",
    "local",
    "--seeds",
    "1",
    "--results",
    "disk/results",
    "--cache",
    "disk/cache",
)
SAID = "cabench: {}: {}; finished trials are kept, re-run the command to resume\n"
FULL = "No space left on device"
MANIFEST = "disk/results/tiny.tiny/manifest.json"


def run() -> Done:
    """The study in this process, as if in a process of its own."""
    ASSETS.clear()
    return cabench(*COMMAND, *ARGUMENTS)


def run_alone() -> tuple[int, str]:
    """Exit code and stderr of a process of its own."""
    done = spawn(*COMMAND, *ARGUMENTS, timeout=120)
    return done.code, done.err


def named(code: int, err: str) -> str:
    """The file that the line on stderr names as too large for the disk."""
    actual = re.fullmatch(re.escape(SAID.format("FILE", FULL)).replace("FILE", "(.*)"), err)
    assert code == 2 and actual, err
    return actual[1]


def taken(folder: Path) -> int:
    """Bytes of a file system in memory that hold the folder's files."""
    return sum(-(-path.stat().st_size // PAGE) * PAGE for path in folder.iterdir())


def test_a_full_disk_is_named(disk):
    disk.leave(0)
    code, _, err = run()
    assert named(code, err) == MANIFEST


@pytest.mark.full
def test_a_disk_too_small_and_then_enlarged(undisturbed, disk):
    disk.leave(8 * PAGE)
    snapshot = re.fullmatch(r"disk/cache/(training/\w{16})/ema-.*", named(*run_alone()))
    disk.leave(sum(taken(undisturbed.root / ".cabench" / part) for part in (snapshot[1], "judge")))
    assert re.fullmatch(r"disk/cache/samples/\w{16}\.safetensors", named(*run_alone()))
    assert outcome(disk.path / "results") == {}

    disk.leave(ROOM)
    code, out, err = run()
    assert code == 0 and err == "", out + err
    actual = outcome(disk.path / "results")
    assert len(actual) == 2 and actual.items() <= undisturbed.outcome.items()
    assert not list(disk.path.rglob(f"*{PART}"))


def test_a_read_only_folder(disk):
    disk.read_only(True)
    code, _, err = run()
    assert (code, err) == (2, SAID.format(Path(MANIFEST).parent.parent, "Read-only file system"))


def kind(path: Path) -> str:
    """'cache/judge/*.npz': folder and ending."""
    folder = re.sub(r"[0-9a-f]{16}", "KEY", str(path.parent.relative_to("disk")))
    return f"{folder}/*{''.join(path.suffixes)}"


@pytest.mark.full
def test_full_at_each_kind_of_file_that_a_run_writes(undisturbed, disk, monkeypatch):
    """In each round the disk fills up as a kind of file is begun that was not hit so far."""
    make, hit, victim = tempfile.mkstemp, set(), None

    def fill(**words):
        nonlocal victim
        if words.get("suffix") == PART:
            path = Path(words["dir"]) / words["prefix"][1:-1]
            if kind(path) not in hit:
                victim = path  # if the disk is full already: begun inside of another, written first
                disk.leave(0)
            elif victim is not None:
                victim = None
                disk.leave(ROOM)
        return make(**words)

    monkeypatch.setattr(tempfile, "mkstemp", fill)
    for _ in range(40):
        victim = None
        disk.leave(ROOM)
        code, out, err = run()
        if victim is None:
            break
        assert named(code, err) == str(victim), out
        hit.add(kind(victim))
    assert code == 0 and err == "", out + err
    assert hit >= {
        "cache/training/KEY/*.safetensors",
        "cache/judge/*.onnx",
        "cache/judge/*.npz",
        "cache/samples/*.safetensors",
        "results/records/*.curves.json",
        "results/records/*.png",
        "results/records/*.json",
        "results/tiny.tiny/*.json",
        "results/tiny.tiny/*.md",
        "results/tiny.tiny/*.png",
    }
    actual = outcome(disk.path / "results")
    assert len(actual) == 2 and actual.items() <= undisturbed.outcome.items()
