"""Google's cloud storage here: a small server of its XML API, as far as the client speaks it.

Here: objects in memory, conditions, ranges, pages of listings, copies, uploads in parts, batches. Not here:
authorization (`disable_oauth` of the account's file switches it off), versions, what is asked (tests/unit/stores).

Written from Google's documents, not from the client: https://cloud.google.com/storage/docs/xml-api/reference-methods,
https://cloud.google.com/storage/docs/xml-api/reference-headers#xgoogifgenerationmatch (0: there must be none),
https://cloud.google.com/storage/docs/xml-api/get-bucket-list, https://cloud.google.com/storage/docs/multipart-uploads,
https://cloud.google.com/storage/docs/batch (deletes are JSON requests in one body of several parts).
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

BUCKET = "groundplan"
DELETES = re.compile(rb"content-id: *<?([^>\r\n]+)>?.*?DELETE /storage/v1/b/[^/]+/o/(\S+) ", re.IGNORECASE | re.DOTALL)
Answer = tuple[int, dict[str, str], bytes]


@dataclass(frozen=True, slots=True)
class Stored:
    """An object: its bytes, the generation that they are, and when they came."""

    data: bytes
    generation: int
    at: datetime

    @property
    def headers(self) -> dict[str, str]:
        return {
            "ETag": f'"{hashlib.md5(self.data).hexdigest()}"',
            "x-goog-generation": str(self.generation),
            "Last-Modified": format_datetime(self.at, usegmt=True),
        }


@dataclass(kw_only=True)
class GoogleStore:
    """A bucket. page: names to a page of a listing. seen: requests, each method and path with query."""

    objects: dict[str, Stored] = field(default_factory=dict)
    uploads: dict[str, dict[int, bytes]] = field(default_factory=dict)
    page: int = 1000
    seen: list[tuple[str, str]] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1_700_000_000_000_000))

    def answer(self, method: str, target: str, headers: Any, body: bytes) -> Answer:
        """An answer: status, headers, body."""
        path, query = urlsplit(target).path, parse_qs(urlsplit(target).query, keep_blank_values=True)
        asked = {name: values[0] for name, values in query.items()}
        with self.lock:
            self.seen.append((method, target))
            if path == "/batch/storage/v1":
                return self._batch(headers, body)
            bucket, _, key = path.lstrip("/").partition("/")
            if bucket != BUCKET:
                return _failed(404, "NoSuchBucket")
            if not key:
                return self._list(asked)
            return self._object(method, unquote(key), asked, headers, body)

    def _object(self, method: str, key: str, asked: dict[str, str], headers: Any, body: bytes) -> Answer:
        if "uploads" in asked and method == "POST":
            upload = f"upload-{next(self.numbers)}"
            self.uploads[upload] = {}
            return _xml(f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>")
        if "uploadId" in asked:
            return self._part(method, key, asked, headers, body)
        if method in ("GET", "HEAD"):
            return self._read(method, key, headers)
        if method == "DELETE":
            return (204, {}, b"") if self.objects.pop(key, None) else _failed(404, "NoSuchKey")
        if source := headers.get("x-goog-copy-source"):
            found = self.objects.get(unquote(source).lstrip("/").partition("/")[2])
            return self._write(key, found.data, headers, copied=True) if found else _failed(404, "NoSuchKey")
        return self._write(key, body, headers)

    def _read(self, method: str, key: str, headers: Any) -> Answer:
        found = self.objects.get(key)
        if found is None:
            return _failed(404, "NoSuchKey")
        data, told, status = found.data, found.headers, 200
        if wanted := re.fullmatch(r"bytes=(\d+)-(\d*)", headers.get("Range") or ""):
            start, end = int(wanted[1]), min(int(wanted[2] or len(data)), len(data) - 1)
            if start >= len(data):
                return _failed(416, "InvalidRange")
            told["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
            data, status = data[start : end + 1], 206
        return status, {**told, "Content-Length": str(len(data))}, data if method == "GET" else b""

    def _write(self, key: str, data: bytes, headers: Any, copied: bool = False) -> Answer:
        wanted, found = headers.get("x-goog-if-generation-match"), self.objects.get(key)
        if wanted is not None and int(wanted) != (found.generation if found else 0):
            return _failed(412, "PreconditionFailed")
        stored = self.objects[key] = Stored(data, next(self.numbers), datetime.now(UTC))
        return _xml("<CopyObjectResult></CopyObjectResult>") if copied else (200, stored.headers, b"")

    def _part(self, method: str, key: str, asked: dict[str, str], headers: Any, body: bytes) -> Answer:
        parts = self.uploads.get(asked["uploadId"])
        if parts is None:
            return _failed(404, "NoSuchUpload")
        if method == "PUT":
            parts[int(asked["partNumber"])] = body
            return 200, {"ETag": f'"{hashlib.md5(body).hexdigest()}"'}, b""
        if method == "POST":
            order = [int(number) for number in re.findall(rb"<PartNumber>(\d+)</PartNumber>", body)]
            if any(len(parts[number]) < 5 * 2**20 for number in order[:-1]):
                return _failed(400, "EntityTooSmall")
            status, told, _ = self._write(key, b"".join(parts[number] for number in order), headers)
            tag = told.get("ETag", "")
            done = f"<CompleteMultipartUploadResult><ETag>{escape(tag)}</ETag></CompleteMultipartUploadResult>"
            del self.uploads[asked["uploadId"]]
            return (status, told, done.encode()) if status == 200 else _failed(status, "PreconditionFailed")
        del self.uploads[asked["uploadId"]]
        return 204, {}, b""

    def _list(self, asked: dict[str, str]) -> Answer:
        """Names and common prefixes in order, a page of them."""
        prefix, delimiter = asked.get("prefix", ""), asked.get("delimiter", "")
        after = asked.get("continuation-token") or asked.get("start-after") or ""
        rows: dict[str, str] = {}
        for key in sorted(name for name in self.objects if name.startswith(prefix)):
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            name = key if cut < 0 else key[: cut + len(delimiter)]
            rows.setdefault(name, _row(name, self.objects[key]) if cut < 0 else _common(name))
        names = [name for name in rows if name > after]
        here, more = names[: self.page], len(names) > self.page
        next_one = f"<NextContinuationToken>{escape(here[-1])}</NextContinuationToken>" if more else ""
        return _xml(f"<ListBucketResult>{''.join(rows[name] for name in here)}{next_one}</ListBucketResult>")

    def _batch(self, headers: Any, body: bytes) -> Answer:
        """Deletes in one request, as the JSON API takes them; an answer for each in one body of several parts."""
        edge, answers = "answers", []
        for number, name in DELETES.findall(body):
            gone = self.objects.pop(unquote(name.decode()), None) is not None
            line = "HTTP/1.1 204 No Content" if gone else "HTTP/1.1 404 Not Found"
            answers.append(
                f"--{edge}\r\nContent-Type: application/http\r\nContent-ID: <response-{number.decode()}>\r\n\r\n"
                f"{line}\r\nContent-Length: 0\r\n\r\n\r\n"
            )
        data = ("".join(answers) + f"--{edge}--\r\n").encode()
        return 200, {"Content-Type": f"multipart/mixed; boundary={edge}"}, data


def _row(name: str, stored: Stored) -> str:
    at = stored.at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    size, tag = len(stored.data), escape(stored.headers["ETag"])
    told = f"<LastModified>{at}</LastModified><ETag>{tag}</ETag><Size>{size}</Size>"
    return f"<Contents><Key>{escape(name)}</Key><Generation>{stored.generation}</Generation>{told}</Contents>"


def _common(name: str) -> str:
    return f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>"


def _xml(text: str) -> Answer:
    return 200, {"Content-Type": "application/xml"}, f'<?xml version="1.0"?>{text}'.encode()


def _failed(status: int, code: str) -> Answer:
    return status, {"Content-Type": "application/xml"}, f"<Error><Code>{code}</Code></Error>".encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, headers, data = self.server.state.answer(self.command, self.path, self.headers, body)
        self.send_response_only(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any  # noqa: N815 (http.server's names)


@contextmanager
def serve(folder: Path) -> Iterator[tuple[GoogleStore, dict[str, str]]]:
    """The server on a free port of 127.0.0.1, and the environment that leads to it. folder: for the account's file."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    state = GoogleStore()
    server.state = state  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    account = folder / "account.json"
    url = f"http://127.0.0.1:{server.server_address[1]}"
    account.write_text(
        json.dumps(
            {"gcs_base_url": url, "disable_oauth": True, "client_email": "", "private_key": "", "private_key_id": ""}
        )
    )
    try:
        yield state, {"GOOGLE_SERVICE_ACCOUNT": str(account)}
    finally:
        server.shutdown()
        server.server_close()
