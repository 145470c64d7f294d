"""The architecture holds: which folder imports which, what the pure core may touch, and that no float is near a price.

The imports are read from the source, those inside functions too; nothing is run.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
SERVICES = ("matcher", "recorder", "broadcaster", "gateway")
SHARED = ("contracts", "entry", "runtime")
PACKAGES = (*SERVICES, *SHARED, "cli", "demo", "pricetime_client")

CONTRACTS = {path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "contracts").glob("*.py")}
ENGINE = {
    "matcher/batch.py",
    "matcher/book.py",
    "matcher/checks.py",
    "matcher/client_order_ids.py",
    "matcher/engine.py",
    "matcher/ordered.py",
}
PURE_CORE = {
    *CONTRACTS,
    *ENGINE,
    "matcher/sequencer.py",
    "recorder/rows.py",
    "broadcaster/candles.py",
    "broadcaster/market.py",
    "broadcaster/messages.py",
    "broadcaster/orders.py",
    "broadcaster/protocol.py",
    "broadcaster/streams.py",
    "entry/administration.py",
    "entry/batches.py",
    "entry/bodies.py",
    "entry/commands.py",
    "entry/permissions.py",
    "entry/plain_orders.py",
    "entry/problems.py",
    "entry/refusals.py",
    "entry/values.py",
    "entry/views.py",
    "gateway/deferred_commands.py",
    "gateway/pages.py",
}
"""Whatever else says of itself that it is pure is held to it as well."""

PURE_LIBRARIES = {"msgspec", "sortedcontainers"}
PURE_STDLIB = {
    "base64",
    "bisect",
    "collections",
    "dataclasses",
    "datetime",
    "decimal",
    "enum",
    "functools",
    "hashlib",
    "heapq",
    "hmac",
    "ipaddress",
    "itertools",
    "json",
    "operator",
    "re",
    "struct",
    "types",
    "typing",
    "urllib.parse",
}
CLOCKS_AND_DOORS = {"now", "utcnow", "today", "open", "print", "input", "eval", "exec", "__import__", "id", "hash"}
"""Called by these names, something asks the clock, the outside, or what differs from one process to the next."""

NO_FLOATS = sorted(CONTRACTS | ENGINE)
NO_SERVERS = {"litestar", "uvicorn", "asyncpg"}
"""What turns a service towards the world; order entry is used by two of them and knows none."""


def modules(package: str) -> list[Path]:
    return sorted((REPOSITORY / package).rglob("*.py"))


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


def imports(path: Path) -> Iterator[str]:
    """Every module that this one imports, by its full name."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: import by full name"
            assert node.module
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names if is_ours(f"{node.module}.{alias.name}"))


def source_of(module: str) -> Path | None:
    """The file of a module of this repository."""
    path = REPOSITORY.joinpath(*module.split("."))
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def is_ours(module: str) -> bool:
    return top(module) in PACKAGES and source_of(module) is not None


def top(module: str) -> str:
    return module.partition(".")[0]


def says_that_it_is_pure(path: Path) -> bool:
    return re.search(r"\bPure\b", ast.get_docstring(tree(path)) or "") is not None


def pure_modules() -> list[str]:
    says_so = (path for package in PACKAGES for path in modules(package) if says_that_it_is_pure(path))
    return sorted(PURE_CORE.union(path.relative_to(REPOSITORY).as_posix() for path in says_so))


def imported_packages(package: str) -> dict[str, str]:
    """Top-level packages that a folder imports, each with one file that does."""
    return {top(module): str(path) for path in modules(package) for module in imports(path)}


@pytest.mark.parametrize("service", SERVICES)
def test_services_never_import_one_another(service: str) -> None:
    others = (set(PACKAGES) | {"bench", "tests"}) - {service, *SHARED}
    imported = imported_packages(service)
    assert {name: imported[name] for name in others & imported.keys()} == {}


@pytest.mark.parametrize("service", ["matcher", "recorder"])
def test_the_engine_and_the_record_of_it_know_nothing_of_order_entry(service: str) -> None:
    """What an order looks like to a client can change without them."""
    assert "entry" not in imported_packages(service)


def test_order_entry_knows_neither_the_services_that_use_it_nor_their_servers() -> None:
    assert imported_packages("entry").keys() & ({*PACKAGES, "bench", "tests"} | NO_SERVERS) <= {
        "contracts",
        "runtime",
        "entry",
    }


def test_contracts_import_nobody_and_runtime_only_contracts() -> None:
    ours = set(PACKAGES) | {"bench", "tests"}
    assert imported_packages("contracts").keys() & ours <= {"contracts"}
    assert imported_packages("runtime").keys() & ours <= {"contracts", "runtime"}


def test_the_client_needs_none_of_us_and_the_traders_of_the_demo_nothing_but_the_client() -> None:
    """They are examples of what others can do with public interfaces."""
    ours = {*PACKAGES, "bench", "tests"}
    libraries = {"httpx", "websockets", "msgspec"}
    client, traders = imported_packages("pricetime_client").keys(), imported_packages("demo").keys()
    assert client & ours == {"pricetime_client"}
    assert {name for name in client - ours if name not in sys.stdlib_module_names} == libraries
    assert {name for name in traders if name not in sys.stdlib_module_names} == {"demo", "pricetime_client"}


def test_contracts_need_msgspec_and_nothing_else() -> None:
    assert imported_packages("contracts").keys() <= {"contracts", "msgspec", *PURE_STDLIB}


def reached_from(path: Path) -> set[Path]:
    """The module and all of ours that it imports, directly or not."""
    reached: set[Path] = set()
    waiting = [path]
    while waiting:
        path = waiting.pop()
        if path not in reached:
            reached.add(path)
            sources = (source_of(module) for module in imports(path) if is_ours(module))
            waiting += [source for source in sources if source]
    return reached


@pytest.mark.parametrize("name", pure_modules())
def test_the_core_is_pure(name: str) -> None:
    """No I/O, clock or randomness, nor in anything it imports; what it needs of those comes as an argument."""
    allowed = {*PACKAGES, *PURE_LIBRARIES, *PURE_STDLIB}
    for path in reached_from(REPOSITORY / name):
        impure = {module for module in imports(path) if allowed.isdisjoint((module, top(module)))}
        assert not impure, f"{path}, reached from {name}, imports {impure}"
        assert not set(calls(path)) & CLOCKS_AND_DOORS, f"{path}, reached from {name}"


def calls(path: Path) -> Iterator[str]:
    """The last part of every name that is called."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            match node.func:
                case ast.Name(name) | ast.Attribute(attr=name):
                    yield name


@pytest.mark.parametrize("name", pure_modules())
def test_the_core_never_goes_through_an_unordered_set(name: str) -> None:
    """Iterating over a set of strings gives another order in each process, and a replay another outcome."""
    for node in ast.walk(tree(REPOSITORY / name)):
        if isinstance(node, ast.For | ast.comprehension):
            assert not is_set(node.iter), f"{name}:{node.iter.lineno}"


def is_set(node: ast.expr) -> bool:
    called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"set", "frozenset"}
    return called or isinstance(node, ast.Set | ast.SetComp)


@pytest.mark.parametrize("name", NO_FLOATS)
def test_no_float_in_contracts_and_engine(name: str) -> None:
    for node in ast.walk(tree(REPOSITORY / name)):
        line = f"{name}:{getattr(node, 'lineno', '?')}"
        assert not (isinstance(node, ast.Constant) and isinstance(node.value, float | complex)), line
        assert not (isinstance(node, ast.Name) and node.id == "float"), line
        assert not (isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div)), line


def test_no_python_beside_the_broker_configuration() -> None:
    """nats/__init__.py would hide the nats-py library, and any other .py would become nats.<name>."""
    assert list((REPOSITORY / "nats").rglob("*.py")) == []


def test_no_packages_under_tests() -> None:
    """An __init__.py there would let tests/matcher hide matcher/."""
    assert list((REPOSITORY / "tests").rglob("__init__.py")) == []


def test_every_package_is_listed_for_the_build() -> None:
    listed = (REPOSITORY / "pyproject.toml").read_text()
    for package in PACKAGES:
        folders = {path.parent.relative_to(REPOSITORY) for path in (REPOSITORY / package).rglob("__init__.py")}
        for folder in folders:
            assert f'"{".".join(folder.parts)}"' in listed, folder
