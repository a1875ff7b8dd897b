"""A small mirror of the hub on loopback, and a call of `local_model` against it; a program by itself, because tests open no sockets.

    python tests/models/hub_mirror.py FOLDER NAME...

FOLDER holds a folder for each commit of the model `org/tiny`; the branch main is the commit `b…`. For each name a line says the folder that
was returned, or the error. The last line lists the requests as JSON.
"""

import json
import os
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(sys.argv[1])
COMMITS = {"main": "b" * 40, "v1": "a" * 40, "a" * 40: "a" * 40, "b" * 40: "b" * 40}
TOKEN = "Bearer secret"
requests: list[str] = []


class Mirror(BaseHTTPRequestHandler):
    """Answers as the hub does, as far as `snapshot_download` asks."""

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def do_HEAD(self) -> None:
        """Answer without a body."""
        self.answer(body=False)

    def do_GET(self) -> None:
        """Answer with a body."""
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        """Answer what the model has, in each revision."""
        requests.append(self.path)
        if self.path == "/":
            return self.send(b"", body)
        if not self.path.startswith(("/api/models/org/tiny/", "/org/tiny/")):
            return self.send(b"", body, 404, **{"X-Error-Code": "RepoNotFound"})
        if self.headers.get("authorization") != TOKEN:
            return self.send(b"", body, 403, **{"X-Error-Code": "GatedRepo"})
        if found := re.match(r"/api/models/org/tiny/revision/([^?]*)", self.path):
            if found[1] not in COMMITS:
                return self.send(b"", body, 404, **{"X-Error-Code": "RevisionNotFound"})
            names = [path.name for path in (ROOT / COMMITS[found[1]]).iterdir()]
            info = {"id": "org/tiny", "sha": COMMITS[found[1]], "siblings": [{"rfilename": name} for name in names]}
            return self.send(json.dumps(info).encode(), body)
        if found := re.match(r"/api/models/org/tiny/tree/([^?]*)", self.path):
            files = [{"type": "file", "path": path.name, "size": path.stat().st_size, "oid": "0"} for path in (ROOT / found[1]).iterdir()]
            return self.send(json.dumps(files).encode(), body)
        _, _, _, _, revision, name = self.path.split("/", 5)  # /org/tiny/resolve/REVISION/NAME
        commit = COMMITS[revision]
        return self.send((ROOT / commit / name).read_bytes(), body, ETag=f'"{commit[0]}-{name}"', **{"X-Repo-Commit": commit})

    def send(self, content: bytes, body: bool, status: int = 200, **headers: str) -> None:
        """Send a response."""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)


server = ThreadingHTTPServer(("127.0.0.1", 0), Mirror)
threading.Thread(target=server.serve_forever, daemon=True).start()
os.environ["HF_ENDPOINT"] = f"http://127.0.0.1:{server.server_port}"

# The hub's library reads the endpoint when it is imported.
from expunge.errors import InputError  # noqa: E402
from expunge.models.sources import local_model  # noqa: E402

for given in sys.argv[2:]:
    try:
        print(local_model(given))
    except InputError as error:
        print(error)
print(json.dumps(requests))
