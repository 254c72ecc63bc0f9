"""The package's source: its files, functions, constants and calls, for a test that reads what it can say."""

import ast
import itertools
from collections import defaultdict
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from epicsub import errors

PACKAGE = Path(errors.__file__).parent
Functions = (ast.FunctionDef, ast.AsyncFunctionDef)


class Module:
    """A file of the package: who encloses whom, and what its names stand for."""

    def __init__(self, path: Path) -> None:
        self.path, self.tree = path, ast.parse(path.read_text(encoding="utf-8"))
        within = PACKAGE.parent if path.is_relative_to(PACKAGE) else path.parent
        self.name = ".".join(path.relative_to(within).with_suffix("").parts).removesuffix(".__init__")
        self.above = {child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)}

    def functions(self, node: ast.AST) -> Iterator[ast.FunctionDef]:
        """Those around a node, the nearest first."""
        while node in self.above:
            node = self.above[node]
            if isinstance(node, Functions):
                yield node

    @cached_property
    def imported(self) -> dict[str, str]:
        """The module of each name that is imported."""
        imports = [node for node in ast.walk(self.tree) if isinstance(node, ast.ImportFrom) and node.module]
        return {alias.asname or alias.name: node.module for node in imports for alias in node.names}

    @cached_property
    def constants(self) -> dict[str, ast.expr]:
        found = {}
        for node in self.tree.body:
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    if isinstance(target, ast.Name):
                        found[target.id] = node.value
                    elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                        found |= {n.id: v for n, v in zip(target.elts, node.value.elts, strict=False)}
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
                found[node.target.id] = node.value
        return found


class Package:
    """All files, their functions by name, and the calls of each name."""

    def __init__(self, root: Path = PACKAGE) -> None:
        self.modules = [Module(path) for path in sorted(root.rglob("*.py"))]
        self.defined: dict[str, list[tuple[Module, ast.FunctionDef]]] = defaultdict(list)
        self.called: dict[str, list[tuple[Module, ast.Call]]] = defaultdict(list)
        self.constants: dict[str, list[tuple[Module, ast.expr]]] = defaultdict(list)
        for module in self.modules:
            for node in ast.walk(module.tree):
                if isinstance(node, Functions):
                    self.defined[node.name].append((module, node))
                elif isinstance(node, ast.Call):
                    self.called[name_of(node.func)].append((module, node))
            for name, value in module.constants.items():
                self.constants[name].append((module, value))

    def definitions(self, module: Module, call: ast.Call) -> list[tuple[Module, ast.FunctionDef]]:
        """Functions that a call may be of: those of its own file, else of the file it is imported from, else all."""
        found = self.defined[name_of(call.func)]
        own = [(where, function) for where, function in found if where is module]
        if isinstance(call.func, ast.Attribute):
            methods = [
                (where, function) for where, function in found if isinstance(where.above[function], ast.ClassDef)
            ]
            return [one for one in methods if one in own] or methods or found
        origin = module.imported.get(name_of(call.func), "")
        return own or [one for one in found if one[0].name.startswith(origin)] or found

    def callers(self, function: ast.FunctionDef) -> list[tuple[Module, ast.Call]]:
        """Calls that may be of a function, or that make an object of its class."""
        home = next(module for module in self.modules if function in module.above)
        around = home.above[function]
        name = around.name if function.name == "__init__" and isinstance(around, ast.ClassDef) else function.name
        return [(where, call) for where, call in self.called[name] if self._may_call(where, call, home, function)]

    def _may_call(self, where: Module, call: ast.Call, home: Module, function: ast.FunctionDef) -> bool:
        if where is home:
            return True
        if isinstance(call.func, ast.Attribute):
            on = name_of(call.func.value)  # of a method any object but this one, of a function a module
            method = isinstance(home.above[function], ast.ClassDef)
            return on != "self" if method else home.name == f"{where.imported.get(on, '')}.{on}"
        return home.name.startswith(where.imported.get(name_of(call.func), "nowhere"))


def own_nodes(function: ast.FunctionDef) -> Iterator[ast.AST]:
    """Nodes of a function, but not those of functions within it."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        if not isinstance(node, Functions):
            yield node
            waiting += ast.iter_child_nodes(node)


def name_of(node: ast.AST | None) -> str:
    """The last part of a dotted name."""
    name = getattr(node, "id", getattr(node, "attr", getattr(node, "value", "")))  # a value: of a quoted annotation
    return name if isinstance(name, str) else ""


def arguments(function: ast.FunctionDef) -> list[ast.arg]:
    return [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]


def defaults(function: ast.FunctionDef) -> dict[str, ast.expr | None]:
    placed = [*function.args.posonlyargs, *function.args.args]
    late = placed[len(placed) - len(function.args.defaults) :]
    found = {argument.arg: value for argument, value in zip(late, function.args.defaults, strict=True)}
    only = zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
    return found | {argument.arg: value for argument, value in only}


def handed_over(function: ast.FunctionDef, call: ast.Call) -> dict[str, ast.expr]:
    """Arguments of a call by name."""
    names = [argument.arg for argument in [*function.args.posonlyargs, *function.args.args]]
    if names[:1] in (["self"], ["cls"]):
        names = names[1:]
    placed = itertools.takewhile(lambda value: not isinstance(value, ast.Starred), call.args)
    return dict(zip(names, placed, strict=False)) | {word.arg: word.value for word in call.keywords if word.arg}
