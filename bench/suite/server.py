"""Serves one file over HTTP on 127.0.0.1, as a mirror would: with ranges, or
without, slow where it is asked to be, and counting what it sends.

    server.py FILE PATH [--latency SECONDS] [--connection-rate BYTES]
              [--total-rate BYTES] [--no-ranges]

Its first line on stdout is its port. For each line on stdin it says what it has
sent since the line before, as JSON; at the end of stdin it ends.
"""
from __future__ import annotations

import argparse
import json
import os
import re
import socket
import sys
import threading
import time
from dataclasses import asdict, dataclass


@dataclass
class Counters:
    """What went out."""

    requests: int = 0
    ranges: int = 0
    connections: int = 0
    body: int = 0
    total: int = 0


class Pace:
    """Lets so many bytes through in a second; any number of threads.

    What a sleep was too long is caught up with, unless it is more than SLACK.
    """

    CHUNK = 1 << 14
    SLACK = 0.05

    def __init__(self, rate: float | None) -> None:
        self.rate = rate
        self.free = 0.0
        self.lock = threading.Lock()

    def wait(self, size: int) -> None:
        if self.rate is None:
            return
        with self.lock:
            start = max(self.free, time.monotonic() - self.SLACK)
            self.free = start + size / self.rate
            until = self.free
        time.sleep(max(0.0, until - time.monotonic()))


class Server:
    """One file, behind one path."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.file = os.open(options.file, os.O_RDONLY)
        self.size = os.fstat(self.file).st_size
        self.counters = Counters()
        self.lock = threading.Lock()
        self.total = Pace(options.total_rate)
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=64)

    def port(self) -> int:
        return self.socket.getsockname()[1]

    def accept(self) -> None:
        while True:
            connection, _ = self.socket.accept()
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def counted(self) -> Counters:
        with self.lock:
            counters, self.counters = self.counters, Counters()
        return counters

    def count(self, **more: int) -> None:
        with self.lock:
            for name, value in more.items():
                setattr(self.counters, name, getattr(self.counters, name) + value)

    def serve(self, connection: socket.socket) -> None:
        """The requests of one connection, one after the other."""
        self.count(connections=1)
        pace = Pace(self.options.connection_rate)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            with connection, connection.makefile("rb") as reader:
                while request := read_request(reader):
                    self.answer(connection, pace, *request)
        except OSError:
            pass  # who asked went away

    def answer(self, connection: socket.socket, pace: Pace, method: str, path: str,
               headers: dict[str, str]) -> None:
        time.sleep(self.options.latency)
        if method not in ("GET", "HEAD") or path != self.options.path:
            self.send(connection, "404 Not Found", {"Content-Length": "0"})
            return
        first, last, status, more = 0, self.size - 1, "200 OK", {}
        if not self.options.no_ranges:
            more["Accept-Ranges"] = "bytes"
            asked = re.fullmatch(r"bytes=(\d+)-(\d*)", headers.get("range", ""))
            if asked:
                first = int(asked[1])
                last = min(last, int(asked[2] or last))
                if first > last:
                    self.send(connection, "416 Range Not Satisfiable",
                              {"Content-Range": f"bytes */{self.size}", "Content-Length": "0"})
                    return
                status = "206 Partial Content"
                more["Content-Range"] = f"bytes {first}-{last}/{self.size}"
                self.count(ranges=1)
        more["Content-Length"] = str(last - first + 1)
        self.send(connection, status, more)
        if method == "GET":
            self.send_file(connection, pace, first, last + 1)

    def send(self, connection: socket.socket, status: str, headers: dict[str, str]) -> None:
        lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers.items())]
        head = ("\r\n".join(lines) + "\r\n\r\n").encode()
        connection.sendall(head)
        self.count(requests=1, total=len(head))

    def send_file(self, connection: socket.socket, pace: Pace, start: int, end: int) -> None:
        limited = pace.rate is not None or self.total.rate is not None
        most = Pace.CHUNK if limited else 1 << 22
        while start < end:
            size = min(most, end - start)
            pace.wait(size)
            self.total.wait(size)
            sent = os.sendfile(connection.fileno(), self.file, start, size)
            if sent == 0:
                raise OSError("the file has become shorter")
            start += sent
            self.count(body=sent, total=sent)


def read_request(reader) -> tuple[str, str, dict[str, str]] | None:
    """The next request of a connection: method, path, headers."""
    line = reader.readline(8192).decode("latin-1").split()
    if len(line) != 3:
        return None
    headers = {}
    while text := reader.readline(8192).decode("latin-1").strip():
        name, _, value = text.partition(":")
        headers[name.lower()] = value.strip()
    return line[0], line[1], headers


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    parser.add_argument("path")
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--connection-rate", type=float)
    parser.add_argument("--total-rate", type=float)
    parser.add_argument("--no-ranges", action="store_true")
    server = Server(parser.parse_args())
    threading.Thread(target=server.accept, daemon=True).start()
    print(server.port(), flush=True)
    for _ in sys.stdin:
        print(json.dumps(asdict(server.counted())), flush=True)


if __name__ == "__main__":
    main()
