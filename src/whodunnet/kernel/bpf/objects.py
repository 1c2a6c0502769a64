"""Loads a BPF object that was compiled with the package, and reads what its programs left.

Needs CAP_BPF and CAP_PERFMON (or CAP_SYS_ADMIN), and a kernel that describes its types (CONFIG_DEBUG_INFO_BTF).
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from whodunnet.errors import FailureCode, UnreadableError
from whodunnet.kernel.support import Support
from whodunnet.model.text import clean

OBJECTS = Path(__file__).with_name("objects")
NEEDS = ("CAP_BPF", "CAP_PERFMON")


class BpfObject:
    """One loaded object with its programs and maps; close it."""

    def __init__(self, name: str, support: Support, sizes: Mapping[str, int] | None = None) -> None:
        """name: bpf/<name>.bpf.c. sizes: entries of maps whose size depends on the machine.

        Raises UnreadableError with the reason if it does not load.
        """
        try:
            from whodunnet.kernel.bpf import _libbpf  # a machine without libbpf still gets the fallback
        except ImportError as error:
            raise UnreadableError(f"the binding to libbpf does not load: {error}", code="unsupported") from error
        self.ffi, self._lib = _libbpf.ffi, _libbpf.lib
        self._shared: list[tuple[Any, Any]] = []
        self._attached: dict[str, Any] = {}
        self._links: list[Any] = []
        self._readers: list[Any] = []
        self._lib.open_log()
        self._object = self._lib.open_object(os.fsencode(OBJECTS / f"{name}.bpf.o"))
        if self._object == self.ffi.NULL:
            raise UnreadableError(f"the BPF object {name} cannot be opened: {self._log()}", code="unsupported")
        for table, entries in (sizes or {}).items():
            self._lib.bpf_map__set_max_entries(self._map(table), entries)
        result = self._lib.bpf_object__load(self._object)
        if result:
            self.close()
            raise self._refused(name, -result, support)

    def close(self) -> None:
        """Detaches and unloads all programs and frees all maps."""
        for program in tuple(self._attached):
            self.detach(program)
        while self._links:
            self._lib.bpf_link__destroy(self._links.pop())
        while self._readers:
            self._lib.close_reader(self._readers.pop())
        while self._shared:
            self._lib.unshare_memory(*self._shared.pop())
        if self._object != self.ffi.NULL:
            self._lib.bpf_object__close(self._object)
            self._object = self.ffi.NULL

    def run(self, program: str) -> int:
        """Runs a program once in the calling task; returns what it returned (BPF_PROG_TEST_RUN, bpf(2))."""
        result = int(self._lib.run_program(self._lib.bpf_program__fd(self._program(program))))
        if result < 0:
            raise UnreadableError(f"the BPF program {program} did not run: {os.strerror(-result)}", code="unsupported")
        return result

    def iterate(self, program: str) -> None:
        """Runs an iterator over everything it iterates over."""
        result = self._lib.run_iterator(self._program(program))
        if result < 0:
            raise UnreadableError(f"the BPF iterator {program} did not run: {os.strerror(-result)}", code="unsupported")

    def attach(self, program: str) -> None:
        """Attaches a program, once, to what its section names, until detach() or close(). Raises UnreadableError."""
        if program in self._attached:
            return
        error = self.ffi.new("int *")
        link = self._lib.attach_program(self._program(program), error)
        if link == self.ffi.NULL:
            raise UnreadableError(
                f"the BPF program {program} cannot be attached: {os.strerror(-error[0])}", code="unsupported"
            )
        self._attached[program] = link

    def detach(self, program: str) -> None:
        """What is not attached stays so."""
        link = self._attached.pop(program, None)
        if link is not None:
            self._lib.bpf_link__destroy(link)

    def attach_clock(self, program: str, cpu: int, hertz: int) -> None:
        """Runs a program by the clock of a CPU, so many times a second, until close(). Raises UnreadableError."""
        error = self.ffi.new("int *")
        link = self._lib.attach_clock(self._program(program), cpu, hertz, error)
        if link == self.ffi.NULL:
            code: FailureCode = "missing-capability" if error[0] in (-errno.EPERM, -errno.EACCES) else "unsupported"
            raise UnreadableError(
                f"CPU {cpu} cannot be sampled (perf_event_open): {os.strerror(-error[0])}",
                code=code,
                missing_capability="CAP_PERFMON" if code == "missing-capability" else None,
            )
        self._links.append(link)

    def ring(self, name: str, kind: str, room: int = 1 << 20) -> Ring:
        """The records of a ring buffer; none is longer than `kind`."""
        error = self.ffi.new("int *")
        reader = self._lib.open_reader(self._map(name), self.ffi.sizeof(kind), error)
        if reader == self.ffi.NULL:
            raise UnreadableError(f"BPF map {name} cannot be read: {os.strerror(-error[0])}", code="unsupported")
        self._readers.append(reader)
        return Ring(self.ffi, self._lib, reader, name, room)

    def misses(self, program: str) -> int:
        """How often a program was not run because it was running on that CPU already (bpf_prog_info)."""
        return max(0, int(self._lib.count_misses(self._lib.bpf_program__fd(self._program(program)))))

    def per_cpu_distance(self, origin: str, *names: str) -> int:
        """Bytes from one variable of a CPU to another one of it, the first that this kernel has; 0: it has none."""
        first, second = names[0], names[-1]
        return int(self._lib.per_cpu_distance(origin.encode(), first.encode(), second.encode()))

    def point(self, outer: str, inner: str) -> None:
        """Makes `inner` the only map in a map of maps, and waits until no program uses the one before."""
        key, value = self.ffi.new("unsigned int *", 0), self.ffi.new("int *", self._lib.bpf_map__fd(self._map(inner)))
        if self._lib.bpf_map_update_elem(self._lib.bpf_map__fd(self._map(outer)), key, value, 0):
            raise UnreadableError(f"BPF map {outer} cannot be changed: {os.strerror(self.ffi.errno)}")

    def data(self, section: str, kind: str) -> Any:
        """The variable of a data section, or the values of an array, shared with the programs: a pointer to `kind`."""
        table = self._map(section)
        if self._lib.bpf_map__value_size(table) != self.ffi.sizeof(kind):
            raise UnreadableError(f"{section} does not hold {kind}: rebuild the package", code="malformed")
        memory = self._lib.share_memory(table)
        if memory == self.ffi.NULL:
            raise UnreadableError(f"{section} cannot be shared with its BPF programs", code="unsupported")
        self._shared.append((memory, table))
        return self.ffi.cast(f"{kind} *", memory)

    def entries(self, name: str, key: str, value: str, limit: int | None = None, remove: bool = False) -> Any:
        """All entries of a map as (number, cffi array of keys, cffi array of values); `remove` empties it."""
        table = self._map(name)
        sizes = self._lib.bpf_map__key_size(table), self._lib.bpf_map__value_size(table)
        if sizes != (self.ffi.sizeof(key), self.ffi.sizeof(value)):
            raise UnreadableError(f"map {name} does not hold {key} and {value}: rebuild the package", code="malformed")
        room = int(self._lib.bpf_map__max_entries(table)) if limit is None else limit
        keys, values = self.ffi.new(f"{key}[]", room), self.ffi.new(f"{value}[]", room)
        count = self._lib.read_map(self._lib.bpf_map__fd(table), keys, values, *sizes, room, remove)
        if count < 0:
            raise UnreadableError(f"BPF map {name} cannot be read: {os.strerror(-count)}")
        return count, keys, values

    def delete(self, name: str, key: str, keys: Sequence[int]) -> None:
        """Remove entries with integer keys; one that is gone already is no error."""
        fd = self._lib.bpf_map__fd(self._map(name))
        for value in keys:
            self._lib.bpf_map_delete_elem(fd, self.ffi.new(f"{key} *", value))

    def put(self, name: str, key: str, number: int, value: str) -> None:
        """Adds an entry with an integer key whose value is all zero. Raises UnreadableError where there is no room."""
        fd = self._lib.bpf_map__fd(self._map(name))
        if self._lib.bpf_map_update_elem(fd, self.ffi.new(f"{key} *", number), self.ffi.new(f"{value} *"), 0):
            raise UnreadableError(f"BPF map {name} takes no more: {os.strerror(self.ffi.errno)}")

    def _program(self, name: str) -> Any:
        return self._found(self._lib.bpf_object__find_program_by_name(self._object, name.encode()), name)

    def _map(self, name: str) -> Any:
        return self._found(self._lib.bpf_object__find_map_by_name(self._object, name.encode()), name)

    def _found(self, pointer: Any, name: str) -> Any:
        if pointer == self.ffi.NULL:
            raise UnreadableError(f"the BPF object has no {name}: rebuild the package", code="malformed")
        return pointer

    def _log(self) -> str:
        lines = bytes(self.ffi.string(self._lib.read_log())).decode(errors="replace").splitlines()
        return clean(lines[-1] if lines else "no reason given")

    def _refused(self, name: str, number: int, support: Support) -> UnreadableError:
        held = support.capabilities
        missing = [] if "CAP_SYS_ADMIN" in held else [c for c in NEEDS if c not in held]
        if missing:
            return UnreadableError(
                f"BPF programs may not be loaded without {' and '.join(missing)}",
                code="missing-capability",
                missing_capability=missing[0],
            )
        log = self._log()
        if support.lockdown == "confidentiality":
            return UnreadableError(
                "the kernel is locked down (confidentiality): BPF programs may not read its memory", code="unsupported"
            )
        if number in (errno.EPERM, errno.EACCES):
            text = f"the kernel or a security module forbids BPF programs although the rights are there: {log}"
        elif number == errno.ESRCH or "BTF" in log:
            where = "/sys is not mounted here, or this kernel does not describe its types (CONFIG_DEBUG_INFO_BTF)"
            text = f"the kernel's types cannot be read: {where}: {log}"
        else:
            text = f"the kernel refused the BPF program of {name} ({os.strerror(number)}): {log}"
        return UnreadableError(text, code="unsupported")


@contextmanager
def closed_on_error(loaded: BpfObject) -> Iterator[None]:
    """Nothing stays loaded if its setting up raises UnreadableError."""
    try:
        yield
    except UnreadableError:
        loaded.close()
        raise


class Ring:
    """What programs left in a ring buffer, in its order."""

    def __init__(self, ffi: Any, lib: Any, reader: Any, name: str, room: int) -> None:
        self._ffi, self._lib, self._reader, self._name, self._room = ffi, lib, reader, name, room

    def fileno(self) -> int:
        """Readable when there are records (select)."""
        return int(self._lib.reader_fd(self._reader))

    def read(self) -> list[bytes]:
        """At most as many records as there is room for; the others stay. Raises UnreadableError."""
        buffer = self._ffi.new("char[]", self._room)
        filled = self._lib.read_records(self._reader, buffer, self._room)
        if filled < 0:
            raise UnreadableError(f"BPF map {self._name} cannot be read: {os.strerror(-filled)}")
        return list(split_records(bytes(self._ffi.buffer(buffer, filled))))


def split_records(data: bytes) -> Iterator[bytes]:
    """Each is preceded by its length and followed by up to 7 bytes of nothing."""
    at = 0
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 8], sys.byteorder)
        yield data[at + 8 : at + 8 + length]
        at += 8 + (length + 7) // 8 * 8
