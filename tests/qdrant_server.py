"""A server that speaks as much of Qdrant's REST as an export needs, in front of the engine of Qdrant's own client.

As the real one it sorts by columns with an index only, and wants the key. There is no package of the real one.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from typing import Any

from qdrant_client import QdrantClient, models

KEY = "hush"


@contextlib.contextmanager
def server() -> Iterator[str]:
    """Its URL."""
    engine, indexed, lock = QdrantClient(":memory:"), set[str](), threading.Lock()

    def answer(method: str, path: str, body: dict[str, Any]) -> Any:
        if path == "/":
            return None
        if (method, path) == ("GET", "/collections"):
            return engine.get_collections()
        name, rest = re.fullmatch(r"/collections/([^/]+)(/.*)?", path).groups()
        if rest == "/exists":
            return {"exists": engine.collection_exists(name)}
        if rest is None and method == "GET":
            return engine.get_collection(name)
        if rest is None and method == "DELETE":
            return engine.delete_collection(name)
        if rest is None:
            vectors = {key: models.VectorParams(**value) for key, value in body["vectors"].items()}
            return engine.create_collection(name, vectors, metadata=body["metadata"])
        if rest == "/index":
            indexed.add(body["field_name"])
            return models.UpdateResult(operation_id=0, status="completed")
        if rest == "/points":
            return engine.upsert(name, [models.PointStruct(**point) for point in body["points"]])
        if rest == "/points/scroll":
            order = models.OrderBy(**body["order_by"]) if body.get("order_by") else None
            if order is not None and order.key not in indexed:
                raise ValueError(f"No range index for `order_by` key: `{order.key}`")
            return {"points": engine.scroll(name, limit=body["limit"], order_by=order)[0]}
        assert rest == "/points/query" and body["params"]["exact"]
        return engine.query_points(name, query=body["query"]["nearest"], using=body["using"], limit=body["limit"])

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
            status, content = 200, b""
            try:
                if self.headers.get("api-key") != KEY:
                    raise ValueError("Must provide an API key")
                with lock:
                    result = answer(self.command, self.path.partition("?")[0], body)
                plain = result.model_dump(mode="json") if hasattr(result, "model_dump") else result
                about = {"title": "qdrant", "version": version("qdrant-client")} if self.path == "/" else {}
                content = json.dumps({"result": plain, "status": "ok", "time": 0, **about}, default=_plain).encode()
            except ValueError as error:
                status, content = 400, json.dumps({"status": {"error": str(error)}, "time": 0}).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_POST = do_DELETE = _serve

        def log_message(self, *arguments: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json")
