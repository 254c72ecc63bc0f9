"""Looking through a pickle before anything in it is built: a pickle is a program, and here it is read, not run.

Every object is stood for by a `_Made`, every class or function by a `_Named`, and no content is kept. What is refused:
names that are not admitted, calls that would take memory out of all proportion, states that numpy would trust blindly,
and keys whose hash would take for ever.
"""

import math
import pickle
import re
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO, ClassVar, NoReturn

from epicsub.unpickle.unreadable import ForeignObjectError

Place = tuple[str, str]
HASH_COST = 10_000  # entries, nested ones counted each time, of a tuple that is a key
EXPANDED = 1 << 28  # entries of a tensor beyond those of its storage: a gigabyte, once it is copied
# Made empty and filled, never called with content.
_BARE = {"ndarray", "DataFrame", "Series", "Index", "RangeIndex", "CategoricalIndex", "MultiIndex", "Categorical"}
_DTYPE = re.compile(r"[<>=|]?(?:[?biufcO](\d*)|([SU])(\d+)|[Mm]8(?:\[\d*[A-Za-zμ]+\])?)")
_LATIN1 = ("latin1", "latin-1")


def survey(handle: BinaryIO, admits: Callable[[str, str], bool], pickles: int = 1) -> None:
    """Look through pickles that follow each other, and refuse what must not be loaded.

    Args:
        handle: at the beginning of the first.
        admits: says whether a class or function, by module and name, may be named.
        pickles: how many.

    Raises:
        ForeignObjectError: names all that is not admitted.
        Exception: of any kind, for a stream that is no whole pickle.
    """
    for _ in range(pickles):
        surveyor = _Surveyor(handle, encoding="latin1")
        surveyor.admits, surveyor.refused = admits, {}
        try:
            surveyor.load()
        finally:
            if surveyor.refused:
                raise ForeignObjectError(", ".join(surveyor.refused))


class _Named(tuple[str, str]):
    """A class or function."""

    __slots__ = ()


class _Block(_Named):
    """pandas 1.3's function that rebuilds a block, with an argument set: the one result of a call that is called."""

    __slots__ = ()


class _Made:
    """The result of a call; `size` is what later checks need of its arguments."""

    __slots__ = ("place", "size")

    def __init__(self, place: Place, size: Any = None) -> None:
        self.place, self.size = place, size


class _Tuple(tuple[Any, ...]):
    """With the number of entries that hashing it visits."""

    cost = 1


def _cost(value: Any) -> int:
    return value.cost if isinstance(value, _Tuple) else 1


class _Surveyor(pickle._Unpickler):  # the one in Python: its steps can be replaced
    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)
    admits: Callable[[str, str], bool]
    refused: dict[str, None]
    # Of the unpickler itself:
    stack: list[Any]
    memo: dict[int, Any]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]
    read: Callable[[int], bytes]
    readline: Callable[[], bytes]

    def find_class(self, module: str, name: str) -> Any:
        if not self.admits(module, name):
            self.refused[f"{module}.{name}"] = None
        return _Named((module, name))

    def persistent_load(self, pid: Any) -> Any:
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] not in ("storage", b"storage"):
            _damaged("a reference outside the file that is no storage")
        return _Made(("torch", "storage"), pid[4] if isinstance(pid[4], int) else 0)

    def get_extension(self, code: int) -> NoReturn:
        raise ForeignObjectError(f"extension {code} of copyreg")

    def _instantiate(self, klass: Any, args: Any) -> None:
        self.append(self.made(klass, tuple(args)))

    def made(self, called: Any, args: Any) -> Any:
        """What a call gives; the result of a call cannot be called again."""
        if not isinstance(called, _Named) or not isinstance(args, tuple):
            _damaged("a call of what is no function")
        module, name = called
        if (module, name) == ("builtins", "slice") or (module, name) == ("__builtin__", "slice"):
            return _Made((module, name))
        if (module, name) == ("functools", "partial"):
            if len(args) != 1 or not isinstance(args[0], _Named) or args[0][1] != "new_block":
                self.refused["functools.partial"] = None
            return _Block((module, "new_block"))
        if (name in _BARE and args) or name == "bytearray":
            self.refused[f"{module}.{name} made of arguments"] = None
        if (module, name) == ("_codecs", "encode") and (len(args) != 2 or args[1] not in _LATIN1):
            self.refused[f"the codec {str(args[1:])[:40]}"] = None
        if name == "_reconstruct" and args[1:2] != ((0,),):
            self.refused[f"{module}.{name} of another shape than (0,)"] = None
        if (module, name) == ("numpy", "dtype"):
            code = args[0] if args else None
            if not isinstance(code, str) or not _DTYPE.fullmatch(code):
                self.refused[f"numpy.dtype of {str(code)[:40]!r}"] = None
            return _Made((module, name), code)
        if name.startswith("_rebuild_tensor") and len(args) > 2 and isinstance(args[0], _Made):
            sizes = [size for size in args[2] if isinstance(size, int)] if isinstance(args[2], tuple) else []
            if math.prod(sizes) > max(EXPANDED, 16 * (args[0].size or 0)):
                self.refused[f"a tensor of {math.prod(sizes):.0e} entries made of {args[0].size}"] = None
        return _Made((module, name), _size(args[0]) if args else None)

    def step_reduce(self) -> None:
        args = self.stack.pop()
        self.stack[-1] = self.made(self.stack[-1], args)

    def step_newobj(self) -> None:
        args = self.stack.pop()
        self.stack[-1] = self.made(self.stack[-1], args)

    def step_newobj_ex(self) -> None:
        _damaged("an object made of named arguments")

    def step_build(self) -> None:
        state, made = self.stack.pop(), self.stack[-1]
        if isinstance(made, _Block):
            return
        if not isinstance(made, _Made):
            _damaged("a state given to what is no object")
        if made.place == ("numpy", "dtype") and not _plain_state(str(made.size), state):
            self.refused[f"numpy.dtype {made.size} with a state of its own"] = None

    def step_append(self) -> None:
        self.stack.pop()
        self.expect(list)

    def step_appends(self) -> None:
        self.pop_mark()
        self.expect(list)

    def step_setitem(self) -> None:
        self.stack.pop()
        _hashable([self.stack.pop()])
        self.expect(dict)

    def step_setitems(self) -> None:
        _hashable(self.pop_mark()[::2])
        self.expect(dict)

    def step_additems(self) -> None:
        _hashable(self.pop_mark())
        self.expect(set)

    def expect(self, kind: type) -> None:
        if not isinstance(self.stack[-1], kind | _Made):
            _damaged(f"entries of what is no {kind.__name__}")

    def step_dict(self) -> None:
        _hashable(self.pop_mark()[::2])
        self.append({})

    def step_list(self) -> None:
        self.pop_mark()
        self.append([])

    def step_frozenset(self) -> None:
        _hashable(self.pop_mark())
        self.append(frozenset())

    def step_tuple(self) -> None:
        self.append_tuple(self.pop_mark())

    def step_tuple1(self) -> None:
        self.append_tuple([self.stack.pop()])

    def step_tuple2(self) -> None:
        second, first = self.stack.pop(), self.stack.pop()
        self.append_tuple([first, second])

    def step_tuple3(self) -> None:
        third, second, first = self.stack.pop(), self.stack.pop(), self.stack.pop()
        self.append_tuple([first, second, third])

    def append_tuple(self, items: Sequence[Any]) -> None:
        made = _Tuple(items)
        made.cost = min(1 + sum(map(_cost, items)), 10 * HASH_COST)
        self.append(made)

    def step_long_binput(self) -> None:
        self.put(int.from_bytes(self.read(4), "little"))

    def step_put(self) -> None:
        self.put(int(self.readline()[:-1]))

    def put(self, index: int) -> None:
        """The unpickler in C keeps a row of places up to the highest: a lone high one would fill the memory."""
        if not 0 <= index <= 2 * len(self.memo) + 1000:
            _damaged("a note far beyond the last")
        self.memo[index] = self.stack[-1]


for _op, _step in {
    pickle.REDUCE: _Surveyor.step_reduce, pickle.NEWOBJ: _Surveyor.step_newobj,
    pickle.NEWOBJ_EX: _Surveyor.step_newobj_ex, pickle.BUILD: _Surveyor.step_build,
    pickle.APPEND: _Surveyor.step_append, pickle.APPENDS: _Surveyor.step_appends,
    pickle.SETITEM: _Surveyor.step_setitem, pickle.SETITEMS: _Surveyor.step_setitems,
    pickle.ADDITEMS: _Surveyor.step_additems, pickle.DICT: _Surveyor.step_dict, pickle.LIST: _Surveyor.step_list,
    pickle.FROZENSET: _Surveyor.step_frozenset, pickle.TUPLE: _Surveyor.step_tuple,
    pickle.TUPLE1: _Surveyor.step_tuple1, pickle.TUPLE2: _Surveyor.step_tuple2, pickle.TUPLE3: _Surveyor.step_tuple3,
    pickle.LONG_BINPUT: _Surveyor.step_long_binput, pickle.PUT: _Surveyor.step_put,
}.items():  # fmt: skip
    _Surveyor.dispatch[_op[0]] = _step


def _size(value: Any) -> int | None:
    """At least the entries of the storage that a value is or becomes."""
    return len(value) if isinstance(value, bytes | str) else value.size if isinstance(value, _Made) else None


def _hashable(keys: Sequence[Any]) -> None:
    if any(_cost(key) > HASH_COST for key in keys):
        _damaged("a key that cannot be hashed in any time")


def _plain_state(code: str, state: Any) -> bool:
    """Whether numpy itself would have written this state of a plain type: the byte order is the only choice in it."""
    if not isinstance(state, tuple) or not 8 <= len(state) <= 9 or state[1] not in ("<", ">", "|", "="):
        return False
    if code.lstrip("<>=|")[:1] in "Mm":
        return state[2:8] == (None, None, None, -1, -1, 0)
    text = _DTYPE.fullmatch(code)
    if text and text[2]:
        width = int(text[3]) * (4 if text[2] == "U" else 1)
        return state[2:8] in ((None, None, None, width, align, flags) for align in (1, 4) for flags in (0, 8))
    return state[2:8] == (None, None, None, -1, -1, 63 if code.lstrip("<>=|")[:1] == "O" else 0)


def _damaged(what: str) -> NoReturn:
    raise pickle.UnpicklingError(what)
