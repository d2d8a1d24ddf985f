"""An S3 server in memory whose every answer takes a while, as a bucket's does over a network.

    python -m benchmarks.slow_s3 --delay 0.02      # prints its port; ends with its standard input

Here: as much of the protocol as boto3, obstore and GDAL use for objects (GET, also of a range, PUT, also in parts,
HEAD, DELETE, list, delete many); `GET /?requests` says how many there were since it was asked last. Not here:
signatures, faults (tests/support/faulty_s3.py). It is asyncio in a process of its own, so that what is measured waits
for the delay and not for the server: some thousand requests a second.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import re
import sys
from contextlib import suppress
from urllib.parse import parse_qs, unquote, urlsplit
from urllib.request import urlopen
from xml.sax.saxutils import escape, unescape

Answer = tuple[int, dict[str, str], bytes]
XML = {"Content-Type": "application/xml"}
RANGE = re.compile(r"bytes=(\d+)-(\d*)")
WHEN, LAST = "2026-01-01T00:00:00.000Z", "Thu, 01 Jan 2026 00:00:00 GMT"


class Server:
    """Objects by bucket and key, and the seconds that an answer takes."""

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self.objects: dict[str, tuple[bytes, str]] = {}
        self.parts: dict[tuple[str, int], bytes] = {}
        self.asked = self.sent = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, kept alive."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                first, *lines = head.rstrip().split("\r\n")
                method, path, _ = first.split(" ", 2)
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                if "100-continue" in headers.get("expect", "").lower():
                    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                if path == "/?requests":
                    status, told, data = 200, {}, f"{self.asked} {self.sent}".encode()
                    self.asked = self.sent = 0
                else:
                    await asyncio.sleep(self.delay)
                    status, told, data = self.answer(method, path, body)
                    if status == 200 and (wanted := RANGE.fullmatch(headers.get("range", ""))):
                        status, told, data = ranged(wanted, told, data)
                    self.asked, self.sent = self.asked + 1, self.sent + len(data)
                told = {"Content-Length": str(len(data)), "Connection": "keep-alive", **told}
                text = "".join(f"{name}: {value}\r\n" for name, value in told.items())
                begin = f"HTTP/1.1 {status} X\r\n{text}\r\n".encode("latin-1")
                writer.write(begin + (data if method != "HEAD" else b""))
                await writer.drain()
        writer.close()

    def answer(self, method: str, path: str, body: bytes) -> Answer:
        parts = urlsplit(path)
        bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
        name = f"{bucket}/{key}"
        query = parse_qs(parts.query, keep_blank_values=True)
        if method == "PUT" and not key:
            return 200, {}, b""
        if method == "PUT":
            tag = f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'
            if "uploadId" in query:
                self.parts[name, int(query["partNumber"][0])] = body
            else:
                self.objects[name] = body, tag
            return 200, {"ETag": tag}, b""
        if method == "POST" and "delete" not in query:
            return 200, XML, self.upload(name, bucket, key, "uploads" in query)
        if method == "GET" and not key:
            return 200, XML, self.listing(bucket, query)
        if method == "POST":
            gone = re.findall(r"<Key>(.*?)</Key>", body.decode())
            for found in gone:
                self.objects.pop(f"{bucket}/{unescape(found)}", None)
            rows = "".join(f"<Deleted><Key>{found}</Key></Deleted>" for found in gone)
            return 200, XML, f"<DeleteResult>{rows}</DeleteResult>".encode()
        if method == "DELETE":
            self.objects.pop(name, None)
            return 204, {}, b""
        if name not in self.objects:
            return 404, XML, b"<Error><Code>NoSuchKey</Code><Message>no</Message></Error>"
        data, tag = self.objects[name]
        told = {"ETag": tag, "Last-Modified": LAST}
        return 200, told | ({"Content-Length": str(len(data))} if method == "HEAD" else {}), data

    def upload(self, name: str, bucket: str, key: str, begins: bool) -> bytes:
        """A multipart upload begins, or is complete; one at a time for each object."""
        told = f"<Bucket>{bucket}</Bucket><Key>{escape(key)}</Key>"
        if begins:
            result = "InitiateMultipartUploadResult"
            return f"<{result}>{told}<UploadId>1</UploadId></{result}>".encode()
        numbers = sorted(number for found, number in self.parts if found == name)
        data = b"".join(self.parts.pop((name, number)) for number in numbers)
        tag = f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}-{len(numbers)}"'
        self.objects[name] = data, tag
        done = f"{told}<ETag>{escape(tag)}</ETag>"
        return f"<CompleteMultipartUploadResult>{done}</CompleteMultipartUploadResult>".encode()

    def listing(self, bucket: str, query: dict[str, list[str]]) -> bytes:
        """A page of list-type 2, with or without a delimiter."""
        prefix, delimiter = query.get("prefix", [""])[0], query.get("delimiter", [""])[0]
        after = query.get("continuation-token", [""])[0]
        keys = sorted(name[len(bucket) + 1 :] for name in self.objects if name.startswith(f"{bucket}/{prefix}"))
        folders = {key[: key.index(delimiter, len(prefix)) + 1] for key in keys if delimiter in key[len(prefix) :]}
        folders = folders if delimiter else set()
        plain = [key for key in keys if key > after and not (delimiter and delimiter in key[len(prefix) :])]
        page, more = plain[:1000], len(plain) > 1000
        rows = [
            f"<Contents><Key>{escape(key)}</Key><Size>{len(self.objects[f'{bucket}/{key}'][0])}</Size>"
            f"<ETag>{escape(self.objects[f'{bucket}/{key}'][1])}</ETag><LastModified>{WHEN}</LastModified></Contents>"
            for key in page
        ]
        rows += [f"<CommonPrefixes><Prefix>{escape(f)}</Prefix></CommonPrefixes>" for f in sorted(folders) if not after]
        rows += [f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>"] if more else []
        told = f"<IsTruncated>{str(more).lower()}</IsTruncated><KeyCount>{len(page)}</KeyCount>{''.join(rows)}"
        return f'<?xml version="1.0"?><ListBucketResult>{told}</ListBucketResult>'.encode()


def ranged(wanted: re.Match[str], told: dict[str, str], data: bytes) -> Answer:
    """The bytes of an object that a request names."""
    start, end = int(wanted[1]), min(int(wanted[2] or len(data)), len(data) - 1)
    if start > end:
        return 416, XML, b"<Error><Code>InvalidRange</Code><Message>no</Message></Error>"
    return 206, told | {"Content-Range": f"bytes {start}-{end}/{len(data)}"}, data[start : end + 1]


def asked(address: str) -> tuple[int, int]:
    """How many requests a server answered since this was asked last, and bytes of its answers."""
    with urlopen(f"{address}/?requests") as answer:
        requests, size = answer.read().split()
    return int(requests), int(size)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--delay", type=float, default=0.02, help="seconds")
    server = Server(parser.parse_args().delay)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, backlog=1024, limit=2**20)
    print(listening.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    os._exit(0)  # open connections are nobody's any more


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
