"""The semaphores of the probes of the OpenTelemetry memory contract, otel_memory, in a running process: raised while somebody listens."""

import os
import re
import struct
import subprocess
from pathlib import Path


class Semaphores:
    """Of the probes of the file `path`, which process `pid` has mapped."""

    def __init__(self, pid, path):
        notes = subprocess.run(["readelf", "-hnW", path], check=True, capture_output=True, text=True).stdout
        base = 0
        if not re.search(r"^ +Type: +EXEC", notes, re.MULTILINE):
            maps = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8")
            base = int(re.search(rf"^([0-9a-f]+)-\S+ \S+ 00000000 \S+ \d+ +{re.escape(str(path))}$", maps, re.MULTILINE)[1], 16)
        found = re.findall(r"Provider: otel_memory\s+Name: (\w+)\s+Location: \S+ Base: \S+ Semaphore: (0x[0-9a-f]+)", notes)
        self.places = {name: base + int(address, 16) for name, address in found}
        self.memory = f"/proc/{pid}/mem"
        assert set(self.places) == {"alloc", "free"}, notes

    def values(self):
        """By probe."""
        with open(self.memory, "rb", buffering=0) as memory:
            return {name: struct.unpack("<H", os.pread(memory.fileno(), 2, place))[0] for name, place in self.places.items()}

    def are(self, value):
        return set(self.values().values()) == {value}

    def raise_by_hand(self):
        """What the kernel does for a tracer. No breakpoint: the probes do nothing, but all that leads to them happens."""
        with open(self.memory, "r+b", buffering=0) as memory:
            for place in self.places.values():
                os.pwrite(memory.fileno(), struct.pack("<H", 1), place)
