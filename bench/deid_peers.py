"""Other tools that de-identify DICOM files, each in an environment of its own that is made on the way and kept beside
the bench's files. Those that cannot be installed or do not run are told of. What their outputs are worth is for
``deid_score``."""

import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench import corpus
from bench.processes import Failed

_SECONDS = 1800


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool: what it is installed from (nothing for Hilum), how it is called, whether it looks for text in pixels, and
    in which folders of its output there is what it lets go."""

    name: str
    requirement: str
    command: Callable[[Path, Path, Path, Path], list[str]]
    pixels: bool = False
    clean: tuple[str, ...] = ("",)

    @property
    def title(self) -> str:
        """Name and version."""
        return self.requirement.replace("==", " ") or self.name


@dataclass(frozen=True, slots=True)
class Ran:
    """What a run cost: seconds by the clock and of CPU, and the files that came out."""

    wall: float
    cpu: float
    written: list[Path]


def _hilum(python: Path, source: Path, target: Path, work: Path) -> list[str]:
    maps = work.parent / "maps"
    profile = ["--profile", "chorus", "--maps", str(maps)] if maps.is_dir() else ["--profile", "research"]
    return [
        str(python), "-m", "hilum", "deid", str(source), str(target), *profile, "--workers", "2",
        "--key-file", str(work / "key"), "--crosswalk", str(work / "crosswalk"), "--report", str(work / "report.json"),
    ]  # fmt: skip


def _dicognito(python: Path, source: Path, target: Path, _work: Path) -> list[str]:
    return [str(python), "-m", "dicognito", "--output-dir", str(target), "--quiet", str(source)]


def _anonymizer(python: Path, source: Path, target: Path, _work: Path) -> list[str]:
    return [str(python.parent / "dicom-anonymizer"), str(source), str(target)]


def _dentdeid(python: Path, source: Path, target: Path, work: Path) -> list[str]:
    return [
        str(python.parent / "dentdeid"), "run", str(source), "--out", str(target), "--profile", "research",
        "--key-file", str(work / "key"),
    ]  # fmt: skip


def _deid(python: Path, source: Path, target: Path, _work: Path) -> list[str]:
    program = str(python.parent / "deid")
    return [program, "--outfolder", str(target), "identifiers", "--action", "all", "--input", str(source)]


HILUM = Tool("Hilum", "", _hilum, pixels=True)
PEERS = (
    Tool("dentdeid", "dentdeid==0.1.0", _dentdeid, pixels=True, clean=("clean", "review")),
    Tool("dicom-anonymizer", "dicom-anonymizer==2.1.0", _anonymizer),
    Tool("dicognito", "dicognito==0.19.0", _dicognito),
    Tool("deid", "deid==0.4.13", _deid),
)


def python_of(tool: Tool) -> Path | None:
    """The interpreter of a tool's environment, made where it is not there yet; None where that cannot be done."""
    if not tool.requirement:
        return Path(sys.executable)
    folder = corpus.home() / f"peer-{tool.requirement.replace('==', '-')}"
    python = folder / "bin" / "python"
    if (folder / "ready").exists():
        return python
    shutil.rmtree(folder, ignore_errors=True)
    print(f"installing {tool.requirement} in {folder}", file=sys.stderr)
    uv = shutil.which("uv")
    make = [uv, "venv", "--quiet", "--python", sys.executable, folder] if uv else [sys.executable, "-m", "venv", folder]
    install = [uv, "pip", "install", "--quiet", "--python", python] if uv else [python, "-m", "pip", "install", "-q"]
    for command in (make, [*install, tool.requirement]):
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{tool.name} is not there: {done.stderr.strip()[-300:]}", file=sys.stderr)
            return None
    (folder / "ready").touch()
    return python


def run(tool: Tool, source: Path, work: Path) -> Ran:
    """De-identify a folder with a tool, into ``out`` below a fresh folder.

    Raises
    ------
    Failed
        When the tool cannot be run or writes nothing.
    """
    python = python_of(tool)
    if python is None:
        raise Failed(f"{tool.name} cannot be installed")
    work.mkdir(parents=True)
    target = work / "out"
    if tool.requirement:
        target.mkdir()
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    command = tool.command(python, source, target, work)
    with (work / "log").open("wb") as log:
        try:
            subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=_SECONDS, check=False,
                env={**os.environ, "PYTHONPATH": ""},
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Failed(f"{tool.name}: {error}") from None
    wall, after = time.monotonic() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    found = (path for folder in tool.clean for path in (target / folder).rglob("*"))
    written = sorted(path for path in found if path.is_file() and _is_dicom(path))
    if not written:
        raise Failed(f"{tool.name} wrote nothing: {(work / 'log').read_text(errors='replace').strip()[-300:]}")
    return Ran(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, written)


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"
