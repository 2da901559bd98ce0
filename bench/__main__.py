"""`scripts/bench`: rounds of every scenario, both sides in turn, one table at the end.

A slow figure is reported, never an error; a lost instance is an error.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench import orthanc_server
from bench.processes import Failed
from bench.scenarios import SCENARIOS, Scenario, Side
from bench.table import Row, met, ratio, render

Measured = defaultdict[str, list[float]]


def main() -> None:
    """Parse the options, measure, print."""
    options = _options()
    # Ended from outside, the servers end too: the exit passes through every `with` and `finally`.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    chosen = [scenario for scenario in SCENARIOS if not options.only or scenario.name in options.only]
    ours, theirs = Measured(list), Measured(list)
    failures = 0
    for number in range(options.rounds):
        for scenario in chosen:
            sides = [(scenario.hilum, ours, "Hilum")] if options.hilum else []
            if options.orthanc and scenario.orthanc is not None:
                sides.append((scenario.orthanc, theirs, "Orthanc"))
            # Who goes first changes by round: what one leaves behind in caches and disk queues falls on both.
            for side, measured, name in sides if number % 2 == 0 else reversed(sides):
                print(f"round {number + 1} of {options.rounds}: {scenario.name}, {name}", file=sys.stderr)
                try:
                    _measure(scenario, side, measured, options.quick)
                except Failed as failure:
                    failures += 1
                    print(f"{scenario.name}, {name}, FAILED: {failure}", file=sys.stderr)
    rows = [_titled(scenario, row, options.quick) for scenario in chosen for row in scenario.rows]
    machine = _machine()
    print(render(rows, ours, theirs))
    print(f"\nMedian (lowest–highest) of {options.rounds} round(s), sides in turn, fresh data directories. {machine}")
    if options.json:
        options.json.write_text(json.dumps(_document(rows, ours, theirs, machine), indent=1) + "\n")
    if failures:
        raise SystemExit(f"{failures} of the measurements failed, see above.")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measure Hilum beside Orthanc, both with fsync, on loopback, on the disk of TMPDIR.",
        epilog="scenarios: " + "; ".join(f"{scenario.name} ({scenario.about})" for scenario in SCENARIOS),
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the files: to see that it works, not to quote")
    names = [scenario.name for scenario in SCENARIOS]
    parser.add_argument("--only", action="append", metavar="NAME", choices=names, help="this scenario; may be repeated")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="how often each is measured (3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all rounds there too")
    parser.add_argument("--no-orthanc", dest="orthanc", action="store_false", help="Hilum alone")
    parser.add_argument("--no-hilum", dest="hilum", action="store_false", help="Orthanc alone")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    return options


def _measure(scenario: Scenario, side: Side, measured: Measured, quick: bool) -> None:
    folder = Path(tempfile.mkdtemp(prefix="hilum-bench-"))
    # A database started by root runs as another user, who has to reach its folder; all in it is invented.
    folder.chmod(0o755)
    try:
        for key, value in side(folder, scenario.quick if quick else scenario.full).items():
            measured[key].append(value)
            print(f"    {key} {value:,.2f}", file=sys.stderr)
    finally:
        shutil.rmtree(folder)


def _titled(scenario: Scenario, row: Row, quick: bool) -> Row:
    files = scenario.quick if quick else scenario.full
    return replace(row, title=row.title.format(f"{files.num_instances:,}"))


def _machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    folder = tempfile.gettempdir()
    disk = subprocess.run(
        ["stat", "-f", "-c", "%T", folder], capture_output=True, text=True, check=False
    ).stdout.strip()
    peer = f"Orthanc {orthanc_server.version()}" if orthanc_server.PROGRAM.exists() else "no Orthanc"
    return (
        f"{os.cpu_count()} cores, {memory:.0f} GB, {disk} at {folder}, Linux {platform.release()}, "
        f"Python {platform.python_version()}, Hilum {version('hilum')}, {peer} (REST over "
        f"{orthanc_server.CONNECTIONS} connections, SyncStorageArea on), {datetime.now(UTC):%Y-%m-%d}.\n"
        "Import rates are of the whole `hilum import` command beside a running `hilum serve`; its CPU is that of "
        "command, server and database,\nOrthanc's that of the server alone. Memory is the PSS of all processes."
    )


def _document(rows: list[Row], ours: Measured, theirs: Measured, machine: str) -> dict[str, object]:
    return {
        "machine": machine,
        "figures": [
            {
                "key": row.key,
                "title": row.title,
                "unit": row.unit,
                "hilum": ours.get(row.key, []),
                "orthanc": theirs.get(row.key, []),
                "times_better": ratio(row, ours, theirs),
                "met": met(row, ours, theirs),
            }
            for row in rows
        ],
    }


if __name__ == "__main__":
    main()
