# SPDX-License-Identifier: Apache-2.0
"""QEMU's monitor protocol: commands, and waiting for the event that ends a job."""

import json
import socket

from .errors import BenchError


class Qmp:
    def __init__(self, path):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._lines = self._socket.makefile("r")
        self._events = []
        self._receive()  # the greeting
        self.command("qmp_capabilities")

    def close(self):
        self._lines.close()
        self._socket.close()

    def command(self, name, /, **arguments):
        request = {"execute": name, "arguments": arguments}
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        while True:
            answer = self._receive()
            if "error" in answer:
                raise BenchError(f"qemu-storage-daemon: {name}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]
            self._events.append(answer)

    def wait_for(self, event):
        while True:
            answer = self._events.pop(0) if self._events else self._receive()
            if answer.get("event") == event:
                return answer["data"]

    def _receive(self):
        line = self._lines.readline()
        if not line:
            raise BenchError("qemu-storage-daemon closed its monitor")
        return json.loads(line)
