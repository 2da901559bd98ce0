"""From a fresh clone to a working command: what `scripts/` promises on a machine with nothing prepared."""

import os
import pwd
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

pytestmark = pytest.mark.timeout(1200)

ROOT = Path(__file__).resolve().parents[2]
MADE = shutil.ignore_patterns(
    ".git",
    ".venv",
    ".uv",
    "node_modules",
    "static",
    "dist",
    "__pycache__",
    ".*_cache",
    ".hypothesis",
    "hilum-data",
    "hilum-demo",
)
PROXIES = {f"{scheme}_proxy" for scheme in ("http", "https", "no")}
COMMANDS = "/usr/bin:/bin"
AT_WORK = re.compile("installing|making|building|waiting")

Run = subprocess.CompletedProcess[str]


class PlainUser:
    """Somebody who is not root and has nothing set up: `nobody` where root runs the tests, else who runs them."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.identity = {}
        if os.getuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self.identity = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        home.mkdir()
        self.give(home)

    def give(self, folder: Path) -> None:
        """Make the user the owner of a folder and all in it."""
        if self.identity:
            subprocess.run(["chown", "-R", str(self.identity["user"]), str(folder)], check=True)

    def run(self, *command: str | Path, times: int = 1, path: str = COMMANDS, **variables: str) -> list[Run]:
        """Run a command with a bare environment, `times` at once, each for at most ten minutes."""
        environment = {name: value for name, value in os.environ.items() if name.lower() in PROXIES}
        environment |= {"HOME": str(self.home), "PATH": path} | variables
        started = [
            subprocess.Popen(
                [str(part) for part in command],
                env=environment,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
                **self.identity,
            )
            for _ in range(times)
        ]
        return [_finish(process) for process in started]


def _finish(process: subprocess.Popen[str]) -> Run:
    with process:
        try:
            output, errors = process.communicate(timeout=600)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGTERM)  # a script ends what it has started
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def _commands_without(folder: Path, *names: str) -> str:
    """A search path with all the machine's commands but some."""
    folder.mkdir()
    for command in [*Path("/bin").iterdir(), *Path("/usr/bin").iterdir()]:
        link = folder / command.name
        if command.name not in names and not link.is_symlink():
            link.symlink_to(command)
    return str(folder)


def _clone(folder: Path, user: PlainUser) -> Path:
    shutil.copytree(ROOT, folder, ignore=MADE, symlinks=True)
    user.give(folder)
    return folder


@pytest.fixture(scope="module")
def plain_user(open_folder: Path) -> PlainUser:
    return PlainUser(open_folder / "home")


@pytest.fixture(scope="module")
def bare_clone(open_folder: Path, plain_user: PlainUser) -> Path:
    """The sources as they are now, without anything made of them."""
    return _clone(open_folder / "bare", plain_user)


@pytest.fixture(scope="module")
def ready_clone(open_folder: Path, plain_user: PlainUser) -> Path:
    """A clone in a path with spaces after its first two runs, which were at once."""
    clone = _clone(open_folder / "a path with spaces", plain_user)
    for run in plain_user.run(clone / "scripts" / "run", "--help", times=2):
        assert run.returncode == 0, run.stderr
        assert "import" in run.stdout
    return clone


def test_a_second_run_installs_and_builds_nothing(ready_clone: Path, plain_user: PlainUser) -> None:
    [run] = plain_user.run(ready_clone / "scripts" / "run", "--help")

    assert run.returncode == 0
    assert not AT_WORK.search(run.stderr), run.stderr


def test_a_plain_user_imports_from_a_path_with_spaces(ready_clone: Path, plain_user: PlainUser) -> None:
    folder = plain_user.home / "my images"
    folder.mkdir()
    shutil.copy(str(get_testdata_file("CT_small.dcm")), folder)
    plain_user.give(folder)

    data = str(plain_user.home / "my data")
    [run] = plain_user.run(ready_clone / "scripts" / "run", "import", folder, "--json", HILUM_DATA=data)

    assert run.returncode == 0, run.stderr
    assert '"instances": 1' in run.stdout


def test_node_is_needed_to_build_the_page_and_not_to_run_it(
    ready_clone: Path, plain_user: PlainUser, open_folder: Path
) -> None:
    path = _commands_without(open_folder / "no-node", "node", "nodejs", "npm", "npx")
    [with_page] = plain_user.run(ready_clone / "scripts" / "run", "--help", path=path)
    assert with_page.returncode == 0, with_page.stderr

    made = [ready_clone / ".uv" / "page-stamp", ready_clone / "web" / "node_modules" / ".hilum-stamp"]
    for stamp in made:
        stamp.rename(stamp.with_name("aside"))
    [without_page] = plain_user.run(ready_clone / "scripts" / "run", "--help", path=path)
    for stamp in made:
        stamp.with_name("aside").rename(stamp)

    assert without_page.returncode == 2
    assert "Node 20 or newer" in without_page.stderr


def test_missing_debian_packages_are_named_to_a_plain_user(
    bare_clone: Path, plain_user: PlainUser, open_folder: Path
) -> None:
    path = _commands_without(open_folder / "no-chromium", "chromium", "storescu")

    [run] = plain_user.run(bare_clone / "scripts" / "test", path=path)

    assert run.returncode == 2
    assert "apt-get install chromium dcmtk" in run.stderr


def test_a_python_without_venv_names_the_package(bare_clone: Path, plain_user: PlainUser, open_folder: Path) -> None:
    # What Debian's python3 is like without the package python3-venv.
    lacking = open_folder / "lacking"
    lacking.mkdir()
    (lacking / "ensurepip.py").write_text("raise ImportError\n")
    path = _commands_without(open_folder / "no-uv", "uv")

    [run] = plain_user.run(bare_clone / "scripts" / "run", "--help", path=path, PYTHONPATH=str(lacking))

    assert run.returncode == 2
    assert "python3-venv" in run.stderr


@pytest.mark.parametrize(
    "name", ["requirements/base.txt", "requirements/dev.txt", "scripts/uv.txt", "web/package-lock.json"]
)
def test_no_lock_names_a_registry(name: str) -> None:
    lines = (ROOT / name).read_text().splitlines()

    assert [line for line in lines if re.search(r'--(extra-)?index-url|--find-links|"resolved"', line)] == []
