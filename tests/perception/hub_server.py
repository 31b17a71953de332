"""A server that speaks the part of the Hugging Face Hub's protocol that downloads and uploads use.

python hub_server.py PORT: keeps models in memory; OWNER/gated is gated, OWNER/torn serves bytes
that differ from their hash, OWNER/cut ends early. GET /requests returns the log.
"""

import base64
import hashlib
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "a" * 40
MODELS: dict[str, dict[str, bytes]] = {"owner/gated": {}, "owner/torn": {}, "owner/cut": {}}
UPLOADS: dict[str, bytes] = {}
LOG: list[str] = []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.file(body=False)

    def do_GET(self) -> None:
        if self.path == "/requests":
            return self.json(LOG)
        if self.path.startswith("/api/models/"):
            repo = "/".join(self.path.split("/")[3:5])
            if repo not in MODELS:
                return self.error("RepoNotFound")
            names = [{"rfilename": name} for name in MODELS[repo]]
            return self.json({"id": repo, "modelId": repo, "sha": COMMIT, "siblings": names})
        self.file(body=True)

    def file(self, body: bool) -> None:
        LOG.append(f"{self.command} {self.path}")
        parts = self.path.strip("/").split("/")  # OWNER NAME resolve REVISION FILE
        repo, revision, name = "/".join(parts[:2]), parts[3], "/".join(parts[4:])
        if repo not in MODELS:
            return self.error("RepoNotFound")
        if repo == "owner/gated":
            return self.error("GatedRepo", 403)
        if revision not in ("main", COMMIT):
            return self.error("RevisionNotFound")
        data = MODELS[repo].get(name)
        if data is None:
            return self.error("EntryNotFound")
        served = data[:-1] + bytes([data[-1] ^ 1]) if repo == "owner/torn" else data
        sha1 = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        sha256 = hashlib.sha256(data).hexdigest()
        self.send_response(200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{sha1 if name.endswith(".md") else sha256}"')
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(served[: len(served) // 2] if repo == "owner/cut" else served)
            self.close_connection = repo == "owner/cut"

    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        LOG.append(f"POST {self.path}")
        repo = "/".join(self.path.removeprefix("/api/models/").strip("/").split("/")[:2])
        if self.path == "/api/validate-yaml":
            return self.json({"errors": [], "warnings": []})
        if self.headers.get("Authorization") != "Bearer hf_secret":
            return self.error("Unauthorized", 401)
        if self.path == "/api/repos/create":
            wanted = json.loads(sent)
            repo = f"{wanted.get('organization') or 'owner'}/{wanted['name']}"
            MODELS.setdefault(repo, {})
            return self.json({"url": f"http://{self.headers['Host']}/{repo}"})
        if "/preupload/" in self.path:
            files = json.loads(sent)["files"]
            modes = [
                {"path": f["path"], "uploadMode": "regular" if f["path"].endswith(".md") else "lfs"}
                for f in files
            ]
            return self.json({"files": [mode | {"shouldIgnore": False} for mode in modes]})
        if self.path.endswith("/info/lfs/objects/batch"):
            return self.json(
                {"transfer": "basic", "objects": [*map(self.slot, json.loads(sent)["objects"])]}
            )
        if "/commit/" in self.path:
            for line in map(json.loads, sent.splitlines()):
                self.commit(repo, line["key"], line["value"])
            url = f"http://{self.headers['Host']}/{repo}/commit/{COMMIT}"
            return self.json({"success": True, "commitOid": COMMIT, "commitUrl": url})
        self.error("EntryNotFound")

    def slot(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Where an LFS object is to be uploaded."""
        href = f"http://{self.headers['Host']}/upload/{wanted['oid']}"
        return wanted | {"authenticated": True, "actions": {"upload": {"href": href}}}

    def commit(self, repo: str, key: str, value: dict[str, Any]) -> None:
        if key == "file":
            MODELS[repo][value["path"]] = base64.b64decode(value["content"])
        elif key == "lfsFile":
            MODELS[repo][value["path"]] = UPLOADS[value["oid"]]

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        parts = self.path.strip("/").split("/")
        if parts[0] == "upload":
            assert hashlib.sha256(data).hexdigest() == parts[1]
            UPLOADS[parts[1]] = data
        else:  # PUT /put/OWNER/NAME/FILE: what a test puts there
            MODELS.setdefault("/".join(parts[1:3]), {})[parts[3]] = data
        self.json({})

    def error(self, code: str, status: int = 404) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def json(self, value: Any) -> None:
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
