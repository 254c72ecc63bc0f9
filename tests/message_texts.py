"""What the package can say when it refuses: each `raise` of one of its errors, with all texts that it may have.

The source is read, not run. Texts are put together as the code does: constants, f-strings, both sides of a condition,
lists of problems that are joined, helper functions and their arguments. `{}` stands for a value that is put in,
`{reason}` for what the operating system said, `{ours}` for another of our errors, which has a place of its own here.
"""

import ast
import itertools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from epicsub import errors
from tests.message_source import PACKAGE, Module, Package, arguments, defaults, handed_over, name_of, own_nodes

OURS = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.EpicsubError)}
OURS |= {"BadVideosError"}  # of data.prepared, a DataError
RAISED = OURS | {"failure"}  # `failure` is the argument by which a reader is told which of them to raise
REASONS = {"strerror", "reason_of"}
VALUE, REASON, ADVISED, OTHER = "{}", "{reason}", "{reason and what to do}", "{ours}"
FIELDS = {"text": "Problem", "says": "Kind"}  # the second value of these classes
PLACES = {"path", "folder", "place"}  # never a sentence
MOST, DEEPEST = 2000, 12


class Site(NamedTuple):
    """A place that raises one of our errors."""

    place: str
    function: str
    texts: frozenset[str]


def sites(package: Package) -> Iterator[Site]:
    """All places that raise an error of ours, or call a function that gives one to raise."""
    for module in package.modules:
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.Raise) or not isinstance(node.exc, ast.Call):
                continue
            name = name_of(node.exc.func)
            if name in RAISED or any(name_of(f.returns) in OURS for _, f in package.defined[name] if f.returns):
                file = module.path.relative_to(PACKAGE).as_posix()
                function = next((function.name for function in module.functions(node)), "")
                texts = frozenset(Reading(package).error(module, node.exc))
                yield Site(f"{file}:{node.lineno}", f"{file}:{function}", texts)


class Reading:
    """Puts texts together; it goes `DEEPEST` calls deep."""

    def __init__(self, package: Package) -> None:
        self.package, self.bound, self.within = package, {}, []

    def error(self, module: Module, node: ast.expr) -> set[str]:
        """Texts of an error that is made."""
        name = name_of(node.func) if isinstance(node, ast.Call) else ""
        if name in RAISED:
            return self.text(module, node.args[0]) if node.args else {""}
        return self._returned(module, node, self.error) if name in self.package.defined else {VALUE}

    def text(self, module: Module, node: ast.expr) -> set[str]:  # one kind of node each
        """Texts that an expression may give; `{}` where it is a value."""
        match node:
            case ast.Constant(value=str(text)):
                return {text}
            case ast.Constant(value=None):
                return set()
            case ast.JoinedStr(values=parts):
                return self._joined(self.text(module, part) for part in parts)
            case ast.FormattedValue(value=value, conversion=-1, format_spec=None):
                return self.text(module, value)
            case ast.BinOp(op=ast.Add(), left=left, right=right):
                return self._joined([self.text(module, left), self.text(module, right)])
            case ast.BinOp(op=ast.Mult(), left=left):
                return {"", *self.text(module, left)}
            case ast.BinOp(op=ast.BitOr(), left=left, right=right):  # dicts of texts
                return self.text(module, left) | self.text(module, right)
            case ast.IfExp(body=body, orelse=other):
                return self.text(module, body) | self.text(module, other)
            case ast.BoolOp(op=ast.And(), values=[*_, last]):
                return {"", *self.text(module, last)}
            case ast.BoolOp(values=values):
                return set().union(*(self.text(module, value) for value in values)) - {""}
            case ast.NamedExpr(value=value):
                return self.text(module, value)
            case ast.Attribute(attr=name, value=ast.Name()) if name in FIELDS:
                return self._of_field(name)
            case ast.Attribute(attr=name):
                return {REASON} if name in REASONS else self._constant(module, name)
            case ast.Name(id=name):
                return self._named(module, node, name, self.text)
            case ast.Subscript(value=value) if isinstance(value, ast.Name) and value.id.isupper():
                return self._constant(module, value.id)
            case ast.Dict(values=values):
                return set().union(*(self.text(module, value) for value in values))
            case ast.Call():
                return self._called(module, node)
        return {VALUE}

    def items(self, module: Module, node: ast.expr) -> set[str]:  # one kind of node each
        """Texts of the items of a list of texts."""
        match node:
            case ast.List(elts=elements) | ast.Tuple(elts=elements) | ast.Set(elts=elements):
                return set().union(*(self._element(module, element) for element in elements))
            case ast.ListComp(elt=element) | ast.GeneratorExp(elt=element) | ast.SetComp(elt=element):
                return self.text(module, element)
            case ast.BinOp(op=ast.Add() | ast.Mult(), left=left, right=right):
                return self.items(module, left) | (self.items(module, right) if isinstance(node.op, ast.Add) else set())
            case ast.IfExp(body=body, orelse=other):
                return self.items(module, body) | self.items(module, other)
            case ast.BoolOp(values=values):
                return set().union(*(self.items(module, value) for value in values))
            case ast.Subscript(value=value) if isinstance(node.slice, ast.Slice):
                return self.items(module, value)
            case ast.Name(id=name):
                return self._named(module, node, name, self.items)
            case ast.Call(func=func, args=args):
                name = name_of(func)
                if name in ("sorted", "list", "tuple", "fromkeys", "set", "dict") and args:
                    return self.items(module, args[0])
                if name == "splitlines" and isinstance(func, ast.Attribute):
                    return self.text(module, func.value)
                if name in self.package.defined:
                    return self._returned(module, node, self.items)
        return {VALUE}

    def _element(self, module: Module, node: ast.expr) -> set[str]:
        return self.items(module, node.value) if isinstance(node, ast.Starred) else self.text(module, node)

    def _joined(self, parts: Iterable[set[str]]) -> set[str]:
        lists = [sorted(part) for part in parts]
        return {"".join(one) for one in itertools.islice(itertools.product(*lists), MOST)}

    def _called(self, module: Module, node: ast.Call) -> set[str]:
        name, args = name_of(node.func), node.args
        if name in REASONS or name == "os_reason":
            return {ADVISED if name == "os_reason" else REASON}
        if name == "str" and args:
            return self.text(module, args[0])
        if name == "next" and args:
            return self.items(module, args[0])
        if name == "get" and isinstance(node.func, ast.Attribute) and name_of(node.func.value).lstrip("_").isupper():
            return set().union(self.text(module, node.func.value), *(self.text(module, one) for one in args[1:]))
        if name == "fromkeys" and len(args) == 2:
            return self.text(module, args[1])
        if name == "join" and isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Constant):
            lines = node.func.value.value in ("\n", "; ", " ", "")
            return self._lines(module, args[0]) if lines else {VALUE}
        if isinstance(node.func, ast.Attribute) and name in (
            "strip",
            "removeprefix",
            "removesuffix",
            "replace",
            "format",
        ):
            return self.text(module, node.func.value)
        return self._returned(module, node, self.text) if name in self.package.defined else {VALUE}

    def _lines(self, module: Module, node: ast.expr) -> set[str]:
        """Lines that are joined: what stands before and behind the problems belongs to each."""
        if isinstance(node, ast.List) and any(isinstance(element, ast.Starred) for element in node.elts):
            parts = (
                self.items(module, one.value) if isinstance(one, ast.Starred) else self.text(module, one)
                for one in node.elts
            )
            return {text.strip() for text in self._joined({f"{text}\n" for text in part} for part in parts)}
        return self.items(module, node)

    def _of_field(self, name: str) -> set[str]:
        """What stands in a field of all objects that are made."""
        if ("field", name) in self.within:
            return set()
        self.within.append(("field", name))
        made, place = self.package.called[FIELDS[name]], 1
        found = set().union(*(self.text(where, call.args[place]) for where, call in made if len(call.args) > place))
        self.within.pop()
        return found or {VALUE}

    def _constant(self, module: Module, name: str) -> set[str]:
        """A constant of the file, else of where it is imported from, else of any file."""
        found = self.package.constants[name] if name.isupper() or name.startswith("_") else []
        own = [one for one in found if one[0] is module]
        origin = [one for one in found if one[0].name == module.imported.get(name)]
        return set().union(*(self.text(where, value) for where, value in own or origin or found)) or {VALUE}

    def _named(self, module: Module, node: ast.Name, name: str, read) -> set[str]:
        """What a name stands for: an argument, what was assigned or added to it, a caught error, a constant."""
        if name in PLACES:
            return {VALUE}
        if (name, id(node)) in self.within:
            return set()
        self.within.append((name, id(node)))
        try:
            for function in module.functions(node):
                if (function, name) in self.bound:
                    where, given = self.bound[function, name]
                    return read(where, given)
                found = self._assigned(module, function, node, name, read)
                if found:
                    return found
                if name in {argument.arg for argument in arguments(function)}:
                    return self._argued(function, name, read)
            return self._constant(module, name)
        finally:
            self.within.pop()

    def _assigned(self, module: Module, function: ast.FunctionDef, use: ast.Name, name: str, read) -> set[str]:
        found: set[str] = set()
        since = self._certain(module, function, use, name)
        for node in ast.walk(function):
            if isinstance(node, ast.stmt) and node.lineno < since:
                continue
            match node:
                case ast.ExceptHandler(name=caught) if caught == name and use in set(ast.walk(node)):
                    kinds = {
                        name_of(kind) for kind in ast.walk(node.type) if isinstance(kind, ast.Name | ast.Attribute)
                    }
                    return {OTHER} if kinds & OURS and not kinds - OURS else {VALUE}
                case ast.Assign(targets=targets, value=value):
                    for target in targets:
                        if isinstance(target, ast.Name) and target.id == name:
                            found |= read(module, value)
                        elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                            pairs = zip(target.elts, value.elts, strict=False)
                            found |= set().union(*(read(module, v) for t, v in pairs if name_of(t) == name))
                        elif isinstance(target, ast.Tuple) and name in map(name_of, target.elts):
                            found |= self._of_tuple(module, value, list(map(name_of, target.elts)).index(name), read)
                case ast.AnnAssign(target=ast.Name(id=target), value=ast.expr() as value) if target == name:
                    found |= read(module, value)
                case ast.AugAssign(target=ast.Name(id=target), value=value) if target == name:
                    added = read(module, value)
                    found = found | added if read == self.items else self._joined([found or {""}, added]) | found
                case ast.NamedExpr(target=ast.Name(id=target), value=value) if target == name:
                    found |= read(module, value)
                case ast.For(target=ast.Tuple(elts=targets), iter=ast.Name(id=of)) if name in map(name_of, targets):
                    found |= self._of_rows(module, of, list(map(name_of, targets)).index(name))
                case ast.For(target=ast.Name(id=target), iter=value) if target == name:
                    found |= self.items(module, value)
                case ast.comprehension(target=ast.Name(id=target), iter=value) if target == name:
                    if use in set(ast.walk(module.above[node])):
                        found |= self.items(module, value)
                case ast.comprehension(target=ast.Tuple(elts=targets), iter=ast.Call(args=[]) as value):
                    names = list(map(name_of, targets))
                    if name in names and use in set(ast.walk(module.above[node])):
                        found |= self._of_pairs(module, value, names.index(name))
                case ast.Call(func=ast.Attribute(value=ast.Name(id=target), attr="append"), args=[value]):
                    found |= self.text(module, value) if target == name and read == self.items else set()
                case ast.Call(func=ast.Attribute(value=ast.Name(id=target), attr="extend"), args=[value]):
                    found |= self.items(module, value) if target == name and read == self.items else set()
                case ast.Call(args=[ast.Name(id=target), *_]) if target == name and read == self.items:
                    found |= self._added_by(module, node, name)
        return found

    def _certain(self, module: Module, function: ast.FunctionDef, use: ast.Name, name: str) -> int:
        """Line of the last assignment before a use that is made whatever happens; those before it do not count."""
        blocks, node = [], use
        while node is not function:
            above = module.above[node]
            held = [getattr(above, field, None) for field in ("body", "orelse", "finalbody")]
            blocks += [block for block in held if isinstance(block, list) and node in block]
            node = above
        made = [
            statement.lineno
            for block in blocks
            for statement in block
            if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.lineno < use.lineno
            for target in (statement.targets if isinstance(statement, ast.Assign) else [statement.target])
            if name in map(name_of, target.elts if isinstance(target, ast.Tuple) else [target])
        ]
        return max(made, default=0)

    def _of_tuple(self, module: Module, node: ast.expr, place: int, read) -> set[str]:
        """One value of the tuple that a function returns."""
        if not isinstance(node, ast.Call):
            return {VALUE}

        def pick(where: Module, returned: ast.expr) -> set[str]:
            return read(where, returned.elts[place]) if isinstance(returned, ast.Tuple) else {VALUE}

        return self._returned(module, node, pick) if name_of(node.func) in self.package.defined else {VALUE}

    def _of_rows(self, module: Module, name: str, place: int) -> set[str]:
        """One column of a constant that is a tuple of tuples."""
        own = [value for where, value in self.package.constants[name] if where is module]
        rows = [row for value in own for row in getattr(value, "elts", ())]
        columns = [row.elts[place] for row in rows if isinstance(row, ast.Tuple)]
        return set().union(*(self.text(module, value) for value in columns)) or {VALUE}

    def _of_pairs(self, module: Module, node: ast.Call, place: int) -> set[str]:
        """Keys or values of a dict's items, or one value of the tuples that a function yields."""
        if name_of(node.func) == "items" and isinstance(node.func, ast.Attribute):
            return self.text(module, node.func.value) if place else self._keys(module, node.func.value)

        def pick(where: Module, yielded: ast.expr) -> set[str]:
            return self.text(where, yielded.elts[place]) if isinstance(yielded, ast.Tuple) else set()

        return self._returned(module, node, pick) if name_of(node.func) in self.package.defined else {VALUE}

    def _keys(self, module: Module, node: ast.expr) -> set[str]:
        if isinstance(node, ast.Dict):
            return set().union(*(self.text(module, key) for key in node.keys if key is not None))
        return self._named(module, node, node.id, self._keys) if isinstance(node, ast.Name) else {VALUE}

    def _added_by(self, module: Module, call: ast.Call, name: str) -> set[str]:
        """What a helper adds to a list that it is handed."""
        found: set[str] = set()
        if not isinstance(module.above.get(call), ast.Expr) or ("", id(call)) in self.within:
            return found
        self.within.append(("", id(call)))
        for where, function in self.package.definitions(module, call):
            handed = [argument.arg for argument in arguments(function)]
            if len(self.within) < DEEPEST and handed and handed[0] != "self":
                with_name = next((n for n in ast.walk(function) if isinstance(n, ast.Name) and n.id == handed[0]), None)
                if with_name is not None:
                    found |= self._assigned(where, function, with_name, handed[0], self.items)
        self.within.pop()
        return found

    def _argued(self, function: ast.FunctionDef, name: str, read) -> set[str]:
        """What callers hand over as an argument."""
        if len(self.within) > DEEPEST:
            return {VALUE}
        found: set[str] = set()
        for where, call in self.package.callers(function):
            given = handed_over(function, call).get(name)
            found |= read(where, given) if given is not None else set()
        default = defaults(function).get(name)
        if isinstance(default, ast.Constant) and isinstance(default.value, str):
            found.add(default.value)
        return found or {VALUE}

    def _returned(self, module: Module, call: ast.Call, read) -> set[str]:
        """What a function of the package returns or yields, with these arguments."""
        name = name_of(call.func)
        found: set[str] = set()
        if len(self.within) > DEEPEST:
            return {VALUE}
        for where, function in self.package.definitions(module, call):
            mine = {(function, key): (module, value) for key, value in handed_over(function, call).items()}
            before, self.bound = self.bound, self.bound | mine
            self.within.append((name, id(call)))
            for node in own_nodes(function):
                if isinstance(node, ast.Return) and node.value is not None:
                    found |= read(where, node.value)
                elif isinstance(node, ast.Yield) and node.value is not None and read != self.text:
                    found |= self.text(where, node.value) if read == self.items else read(where, node.value)
                elif isinstance(node, ast.YieldFrom) and read == self.items:
                    found |= self.items(where, node.value)
            self.within.pop()
            self.bound = before
        return found or {VALUE}
