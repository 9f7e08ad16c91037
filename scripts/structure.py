"""The shape of the tree: sizes of rooms, lengths of files and functions, imports and circles.

Run it in a checkout, or name another one: python scripts/structure.py [FOLDER]
It ends with 1 if a goal is missed: a room of more than 15 files, a file of more
than 665 lines in viewer/, a median of 130 lines or more, an import circle in Python or JavaScript.
"""

import ast
import re
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

MOST_FILES = 15  # of a room
MOST_LINES = 665  # of a file of viewer/: those that tell one story are about 660
MEDIAN_LINES = 130
ROOTS = ("viewer", "tests", "benchmarks", "scripts", "migrations", "templates", "static")
KINDS = (".py", ".html", ".js", ".css")

_JS_IMPORT = re.compile(
    r"""(?:import|export)\b[^;'"]*?\bfrom\s*["']([^"']+)["']|\bimport\s*\(?\s*["']([^"']+)["']"""
)

Graph = Mapping[str, set[str]]


def main(root: Path) -> int:
    missed: list[str] = []
    _say_rooms(root, missed)
    _say_lengths(root, missed)
    _say_imports(root, missed)
    print("\nGoals:", "; ".join(missed) if missed else "all reached")
    return 1 if missed else 0


def _say_rooms(root: Path, missed: list[str]) -> None:
    rooms: dict[str, list[int]] = defaultdict(list)
    for path in _sources(root, *ROOTS):
        rooms[path.parent.relative_to(root).as_posix()].append(_lines(path))
    print(f"{'room':36}{'files':>7}{'lines':>8}")
    for room, lines in sorted(rooms.items()):
        print(f"{room:36}{len(lines):7}{sum(lines):8}")
        if room.startswith("viewer") and len(lines) > MOST_FILES:
            missed.append(f"{room} has {len(lines)} files")


def _say_lengths(root: Path, missed: list[str]) -> None:
    print(f"\n{'':22}{'number':>8}{'median':>8}{'p90':>6}{'max':>6}  longest")
    for folder in ("viewer", "tests"):
        files = {path.relative_to(root).as_posix(): _lines(path) for path in _python(root, folder)}
        functions = dict(_functions(root, folder))
        for kind, lengths in (("files", files), ("functions", functions)):
            median, p90, longest = _spread(lengths.values())
            name = max(lengths, key=lambda one: lengths[one])
            label = f"{folder} {kind}"
            print(f"{label:22}{len(lengths):8}{median:8.0f}{p90:6.0f}{longest:6}  {name}")
        if folder == "viewer":
            if max(files.values()) > MOST_LINES:
                missed.append(f"a file of {max(files.values())} lines")
            # An empty __init__ says nothing about how long a read is.
            median = statistics.median(length for length in files.values() if length)
            if median >= MEDIAN_LINES:
                missed.append(f"median file of {median:.0f} lines")


def _say_imports(root: Path, missed: list[str]) -> None:
    print()
    modules = python_imports(root)
    scripts = js_imports(root)
    rooms: dict[str, set[str]] = defaultdict(set)
    for module, imported in modules.items():
        rooms[_room(root, module)] |= {_room(root, one) for one in imported}
    rooms = {room: ends - {room} for room, ends in rooms.items()}
    for name, graph, is_a_goal in (
        ("modules of viewer/", modules, True),
        ("rooms of viewer/", rooms, False),
        ("modules of static/js/", scripts, True),
    ):
        arrows = sum(len(ends) for ends in graph.values())
        circles = list(cycles(graph))
        print(f"{name:24}{len(graph):5} with{arrows:5} arrows and {len(circles)} circles")
        for circle in circles:
            print("    circle:", " ↔ ".join(circle))
        if circles and is_a_goal:
            missed.append(f"{len(circles)} import circles among the {name}")


def python_imports(root: Path) -> Graph:
    """Module → modules of viewer/ that it imports when it runs, not only for the type checker."""
    paths = {_module(root, path): path for path in _python(root, "viewer")}
    graph: dict[str, set[str]] = {module: set() for module in paths}
    for module, path in paths.items():
        for node in _nodes_that_run(ast.parse(path.read_text())):
            names: list[str] = []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            for name in names:
                # `from package import name`: a module of it, else something of the package itself.
                found = name if name in paths else name.rpartition(".")[0]
                if found in paths and found != module:
                    graph[module].add(found)
    return graph


def _nodes_that_run(node: ast.AST) -> Iterator[ast.AST]:
    """All below it but for what stands under `if TYPE_CHECKING`."""
    yield node
    for child in ast.iter_child_nodes(node):
        is_for_types = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        if not is_for_types:
            yield from _nodes_that_run(child)


def js_imports(root: Path) -> Graph:
    """File of static/js/ → files that it imports."""
    graph: dict[str, set[str]] = {}
    for path in sorted((root / "static" / "js").glob("*.js")):
        found = {a or b for a, b in _JS_IMPORT.findall(path.read_text())}
        graph[path.name] = {Path(one).name for one in found if (path.parent / one).is_file()}
    return graph


def cycles(graph: Graph) -> Iterator[list[str]]:
    """Strongly connected components of more than one member (Tarjan)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []

    def visit(node: str) -> Iterator[list[str]]:
        index[node] = low[node] = len(index)
        stack.append(node)
        for end in sorted(graph.get(node, ())):
            if end not in index:
                yield from visit(end)
                low[node] = min(low[node], low[end])
            elif end in stack:
                low[node] = min(low[node], index[end])
        if low[node] == index[node]:
            component = [stack.pop()]
            while component[-1] != node:
                component.append(stack.pop())
            if len(component) > 1:
                yield sorted(component)

    for node in graph:
        if node not in index:
            yield from visit(node)


def _functions(root: Path, folder: str) -> Iterator[tuple[str, int]]:
    """Name and lines of each function, its decorators and docstring included."""
    count: Counter[str] = Counter()
    for path in _python(root, folder):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                name = f"{path.relative_to(root).as_posix()}:{node.name}"
                count[name] += 1
                first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
                yield f"{name}#{count[name]}", (node.end_lineno or first) - first + 1


def _spread(lengths: Iterable[int]) -> tuple[float, float, int]:
    found = sorted(lengths)
    return statistics.median(found), found[int(len(found) * 0.9)], found[-1]


def _room(root: Path, module: str) -> str:
    """The folder a module lies in; what lies in viewer/ itself is a room of its own."""
    is_package = (root / Path(*module.split("."))).is_dir()
    return module if is_package or module.count(".") == 1 else module.rpartition(".")[0]


def _module(root: Path, path: Path) -> str:
    name = ".".join(path.relative_to(root).with_suffix("").parts)
    return name.removesuffix(".__init__")


def _python(root: Path, folder: str) -> Iterator[Path]:
    return (path for path in _sources(root, folder) if path.suffix == ".py")


def _sources(root: Path, *folders: str) -> Iterator[Path]:
    for folder in folders:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in KINDS and "vendor" not in path.parts:
                yield path


def _lines(path: Path) -> int:
    return len(path.read_text().splitlines())


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path()))
