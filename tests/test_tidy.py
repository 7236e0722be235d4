"""House style that no linter knows, after TigerBeetle's `src/tidy.zig`."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

REPO = Path(__file__).parents[1]
ROOT = REPO / "src/coldgrid"
FILES = sorted(ROOT.rglob("*.py"))
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
# A float or int that measures something says in what: `_c`, `_min`, `_eur_cents` ...
MEASURES = r"(^|_)(temperature|duration|distance|weight|volume|gap|price|cost|mkt)(_max|_longest)?$"

# Where a clock, chance or the environment may be read: the composition roots, and the named exceptions.
ROOTS = ("node/", "tower/", "cli/")
AMBIENT = {"random", "secrets", "time", "os.environ", "os.getenv", "os.urandom"}
AMBIENT_EXCEPTIONS = (
    re.compile(r"kernel/(\w*_)?(database|driver|sqlite|postgres)\w*\.py"),  # leases, locks and retries
    re.compile(r"access/(\w*_)?(salt|secret|password|token)\w*\.py"),  # salts and session secrets
)

# Where the outside world may be reached.
OUTSIDE = ("adapters/", "sync/", "connect/")
CLIENTS = {"aiohttp", "ftplib", "http.client", "httpx", "paho", "requests", "serial", "smtplib", "socket"}
CLIENTS |= {"socketserver", "urllib.request", "websockets"}

REGISTRIES = re.compile(
    r"pypi\.org|pythonhosted\.org|registry\.(npmjs|yarnpkg)|deb\.debian\.org|proxy\.golang\.org|docker\.io"
)
# Homes, and wherever this checkout happens to lie.
MACHINE_PATHS = re.compile(rf"(?<![\w.])/(home|root)/\w+|{re.escape(str(Path(__file__).parents[1]))}\b")
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK|NotImplementedError)\b")
SHIPPED = (".py", ".html", ".ts", ".css", ".sql", ".yaml", ".yml")
BUILT = {"node_modules", "static", "__pycache__", "dist", "build"}


def room_path(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tracked() -> list[Path]:
    """What a clone holds; a source archive has no git, so there it is what lies around."""
    if (REPO / ".git").exists() and shutil.which("git"):
        # The checkout may belong to another user than the one who tests it.
        command = ["git", "-c", "safe.directory=*", "ls-files", "-z"]
        listing = subprocess.run(command, cwd=REPO, capture_output=True, check=True)
        found = [REPO / name for name in listing.stdout.decode().split("\0") if name]
    else:
        parts = ("src", "tests", "tools", "ui", "docs", "locks", "bench", ".ci")
        found = [*REPO.glob("*"), *(path for part in parts for path in (REPO / part).rglob("*"))]
    return [path for path in found if path.is_file() and not BUILT.intersection(path.relative_to(REPO).parts)]


def text_of(path: Path) -> str:
    return path.read_bytes().decode("utf-8", errors="ignore")


def imports(tree: ast.Module) -> Iterator[str]:
    """Every module imported and every member, dotted, with the attributes read of `os`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
            yield f"os.{node.attr}"


def within(name: str, modules: set[str]) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)


@pytest.mark.parametrize("path", FILES, ids=room_path)
def test_file_is_tidy(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    assert text.count("\n") <= FILE_LINES_MAX
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            code_lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0  # type: ignore[operator]
            assert code_lines <= FUNCTION_LINES_MAX, f"{node.name} has {code_lines} lines of code"
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation) in {"int", "float"}:
            name = ast.unparse(node.target)
            assert not re.search(MEASURES, name), f"{name} lacks a unit"


@pytest.mark.parametrize("path", FILES, ids=room_path)
def test_only_the_composition_roots_read_clock_chance_and_environment(path: Path) -> None:
    where = room_path(path)
    if where.startswith(ROOTS) or any(allowed.fullmatch(where) for allowed in AMBIENT_EXCEPTIONS):
        return
    read = sorted(name for name in set(imports(ast.parse(path.read_text()))) if within(name, AMBIENT))
    assert not read, f"{where} uses {read}; take the value as an argument"


@pytest.mark.parametrize("path", FILES, ids=room_path)
def test_only_the_edges_open_connections(path: Path) -> None:
    where = room_path(path)
    if where.startswith(OUTSIDE):
        return
    opened = sorted(name for name in set(imports(ast.parse(path.read_text()))) if within(name, CLIENTS))
    assert not opened, f"{where} uses {opened}; that belongs to {', '.join(OUTSIDE)}"


@pytest.mark.parametrize("path", FILES, ids=room_path)
def test_an_import_for_types_stays_within_its_room(path: Path) -> None:
    """The import contracts leave such imports out, so that neighbours in one room may name types."""
    room = room_path(path).split("/")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            named = set(imports(ast.Module(node.body, [])))
            foreign = sorted(name for name in named if within(name, {"coldgrid"}))
            foreign = [name for name in foreign if not within(name, {f"coldgrid.{room}"})]
            assert not foreign, f"{room_path(path)} names {foreign} for types"


def test_a_table_is_named_only_where_it_is_defined() -> None:
    trees = {path: ast.parse(path.read_text()) for path in FILES}
    owners = {
        name: path
        for path in FILES
        for name in re.findall(r"^(\w+)(?:: [\w.]+)? = sa\.Table\(", path.read_text(), flags=re.MULTILINE)
    }
    for path, tree in trees.items():
        for name in sorted(names_used(tree) & {name for name, owner in owners.items() if owner != path}):
            pytest.fail(f"{room_path(path)} uses {name} of {room_path(owners[name])}")


def names_used(tree: ast.Module) -> set[str]:
    """Identifiers, and the tables that SQL in a string or a foreign key names."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.ImportFrom):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.update(re.findall(r"\b(?:FROM|INTO|UPDATE|JOIN|TABLE)\s+(\w+)", node.value))
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("ForeignKey"):
            found.update(ast.unparse(target).strip("'").split(".")[0] for target in node.args[:1])
    return found


def test_every_folder_with_code_is_a_package() -> None:
    """The import contracts see packages only."""
    assert not [room_path(path) for path in FILES if not (path.parent / "__init__.py").exists()]


def test_templates_lie_beside_their_room_and_use_their_own_or_the_shell() -> None:
    for path in sorted({*ROOT.rglob("*.html"), *ROOT.rglob("*.jinja*"), *ROOT.rglob("*.j2")}):
        parts = path.relative_to(ROOT).parts
        if "static" in parts:
            continue
        uses = re.findall(r"{%-?\s*(?:extends|include|import|from)\s+[\"'](\w+)/", path.read_text())
        foreign = sorted(set(uses) - {parts[0], "webkit"})
        assert not foreign, f"{'/'.join(parts)} uses templates of {foreign}; fill a slot instead"
        assert len(parts) >= 3, f"{'/'.join(parts)} lies in no room's templates"
        assert parts[1] == "templates", f"{'/'.join(parts)} lies in no room's templates"
        assert (ROOT / parts[0] / "__init__.py").exists(), f"{parts[0]} is no room"


def test_nothing_shipped_is_unfinished() -> None:
    shipped = [path for path in tracked() if path.suffix in SHIPPED and path.is_relative_to(REPO / "src")]
    shipped += [path for path in tracked() if path.is_relative_to(REPO / "ui/src")]
    unfinished = [path.relative_to(REPO).as_posix() for path in shipped if UNFINISHED.search(text_of(path))]
    assert not unfinished


def test_no_file_names_a_registry_or_somebodys_machine() -> None:
    for path in tracked():
        for pattern in (REGISTRIES, MACHINE_PATHS):
            match = pattern.search(text_of(path))
            assert not match, f"{path.relative_to(REPO)} names {match and match.group()}"


def test_locks_pin_by_hash_and_leave_the_registry_to_the_machine() -> None:
    locks = sorted((REPO / "locks").glob("*.lock"))
    assert locks
    for lock in locks:
        text = lock.read_text()
        assert "://" not in text, lock.name
        assert "index-url" not in text, lock.name
        assert len(re.findall(r"^[\w.-]+(\[[\w,]+\])?==", text, flags=re.MULTILINE)) <= text.count("--hash=")
    packages = (REPO / "ui/package-lock.json").read_text()
    assert '"resolved"' not in packages
    assert packages.count('"integrity"') == len(re.findall(r'^    "node_modules/', packages, re.MULTILINE))
