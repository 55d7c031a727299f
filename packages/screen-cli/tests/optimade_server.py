"""A real OPTIMADE server on loopback (optimade[server] on mongomock), with faults on request.

    python optimade_server.py CONFIG.json

CONFIG.json: ``entries`` (list of structure documents), ``provider`` (prefix), ``fields`` (described provider fields),
``page_limit``, ``port_file`` (gets the port), ``log`` (gets one line for each request of structures) and
``faults`` (file with a JSON list of what the next requests meet: "" or 502, 429, html, torn, 400).
"""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

import uvicorn
from optimade.server.config import ServerConfig
from optimade.server.create_app import create_app


class Faults:
    """Fail some requests of ``/structures`` in the ways of real providers, and log them all."""

    def __init__(self, app, faults, log):
        self.app, self.faults, self.log = app, Path(faults), Path(log)

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http" or not scope["path"].endswith("/structures") or "/info" in scope["path"]:
            await self.app(scope, receive, send)
            return
        kind, *later = json.loads(self.faults.read_text()) or [""]
        self.faults.write_text(json.dumps(later))
        with self.log.open("a") as file:
            file.write(f"{kind or 'ok'} {scope['query_string'].decode()}\n")
        if not kind:
            await self.app(scope, receive, send)
            return
        status = {"html": 200, "torn": 200}.get(kind) or int(kind)
        body = {
            "html": b"<html>Down for maintenance</html>",
            "torn": b'{"data": [{"id": "1", "attrib',
            "429": b"slow down",
            "502": b"<html>Bad Gateway</html>",
            "400": json.dumps({"errors": [{"title": "Bad Request", "detail": "no such property"}]}).encode(),
        }[kind]
        length = len(body) + (1000 if kind == "torn" else 0)
        headers = [(b"content-length", str(length).encode())] + ([(b"retry-after", b"1")] if kind == "429" else [])
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})


def main() -> None:
    settings = json.loads(Path(sys.argv[1]).read_text())
    config = ServerConfig(
        insert_test_data=False,
        database_backend="mongomock",
        page_limit=settings["page_limit"],
        page_limit_max=100,
        provider={"prefix": settings["provider"], "name": "Test", "description": "cubic crystals"},
        provider_fields={"structures": settings["fields"]},
        log_level="error",
        log_dir=str(Path(settings["log"]).parent / "server-logs"),
        validate_api_response=settings.get("validate", True),
    )
    app = create_app(config)
    app.state.entry_collections["structures"].insert(settings["entries"])
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    Path(settings["port_file"]).write_text(str(listener.getsockname()[1]))
    server = uvicorn.Server(
        uvicorn.Config(Faults(app, settings["faults"], settings["log"]), log_level="critical", lifespan="off")
    )
    server.run(sockets=[listener])


if __name__ == "__main__":
    main()
