"""The endpoints of the Hugging Face hub that huggingface_hub calls to push and pull, on this machine."""

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

TOKEN = "hf_good"


@dataclass
class Repository:
    """By commit, the files of a repository; the last commit is `main`."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def find(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        if revision == "main" and self.commits:
            return list(self.commits.items())[-1]
        return (revision, self.commits[revision]) if revision in self.commits else None

    def commit(self, files: dict[str, bytes]) -> str:
        before = self.find("main")
        whole = {**(before[1] if before else {}), **files}
        name = hashlib.sha1(repr((len(self.commits), sorted(whole.items()))).encode()).hexdigest()
        self.commits[name] = whole
        return name


class Hub(ThreadingHTTPServer):
    """What it holds, what it was asked, and how it is to fail."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.breaks: str = ""  # "upload" or "download": the connection ends in the middle of one
        Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *words: object) -> None:
        pass

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def answer(self, content: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def refuse(self, status: int, code: str, message: str) -> None:
        self.answer({"error": message}, status, {"X-Error-Code": code, "X-Error-Message": message})

    def may_write(self) -> bool:
        if self.headers.get("Authorization") == f"Bearer {TOKEN}":
            return True
        self.body()
        self.refuse(401, "", "Invalid credentials in Authorization header")
        return False

    def do_POST(self) -> None:
        self.server.asked.append(f"POST {self.path}")
        if self.path == "/api/validate-yaml":
            self.body()
            self.answer({"errors": [], "warnings": []})
            return
        if not self.may_write():
            return
        content = self.body()
        if self.path == "/api/repos/create":
            given = json.loads(content)
            name = f"{given['organization']}/{given['name']}" if given.get("organization") else given["name"]
            status = 409 if name in self.server.repositories else 200
            self.server.repositories.setdefault(name, Repository())
            self.answer({"url": f"{self.server.address}/{name}", "error": "exists"}, status)
        elif re.fullmatch(r"/api/models/(.+)/preupload/(.+)", self.path):
            files = json.loads(content)["files"]
            mode = {True: "lfs", False: "regular"}
            self.answer(
                {
                    "files": [
                        {"path": f["path"], "shouldIgnore": False,
                         "uploadMode": mode[f["path"].endswith(".safetensors")]}
                        for f in files
                    ]
                }
            )  # fmt: skip
        elif self.path.endswith("/info/lfs/objects/batch"):
            wanted = json.loads(content)["objects"]
            put = [
                {**one, "actions": {"upload": {"href": f"{self.server.address}/lfs/{one['oid']}"}}} for one in wanted
            ]
            self.answer({"transfer": "basic", "objects": put})
        elif found := re.fullmatch(r"/api/models/(.+)/commit/(.+)", self.path):
            files = {}
            for line in map(json.loads, content.splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    files[value["path"]] = self.server.objects[value["oid"]]
            commit = self.server.repositories[found[1]].commit(files)
            self.answer({"commitUrl": f"{self.server.address}/{found[1]}/commit/{commit}", "commitOid": commit})
        else:
            self.refuse(404, "EntryNotFound", "no such page")

    def do_PUT(self) -> None:
        self.server.asked.append(f"PUT {self.path}")
        if self.server.breaks == "upload":
            self.rfile.read(1000)
            self.connection.close()
            return
        content = self.body()
        assert hashlib.sha256(content).hexdigest() == self.path.rpartition("/")[2]
        self.server.objects[self.path.rpartition("/")[2]] = content
        self.answer({})

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        page = re.fullmatch(r"/api/models/([^/]+/[^/?]+)(?:/revision/([^?]+))?(?:\?.*)?", self.path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.path)
        if not page and not file:
            self.refuse(404, "EntryNotFound", "no such page")
            return
        name, revision = (page or file)[1], (page or file)[2] or "main"  # type: ignore[index]
        repository = self.server.repositories.get(name)
        if repository is None:
            self.refuse(401 if not self.headers.get("Authorization") else 404, "RepoNotFound", "Repository not found")
            return
        found = repository.find(revision)
        if found is None and not (page and revision == "main"):
            self.refuse(404, "RevisionNotFound", "Invalid rev id")
            return
        commit, files = found or ("0" * 40, {})
        if page:
            self.answer({"id": name, "sha": commit, "siblings": [{"rfilename": one} for one in files]})
        elif file[3] not in files:  # type: ignore[index]
            self.refuse(404, "EntryNotFound", "Entry not found")
        else:
            content = files[file[3]]  # type: ignore[index]
            headers = {"X-Repo-Commit": commit, "ETag": f'"{hashlib.sha256(content).hexdigest()}"'}
            if self.command == "GET" and self.server.breaks == "download" and len(content) > 100_000:
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[:50_000])
                self.connection.close()
                return
            self.answer(content, 200, headers)
