"""Runs a command under another kernel: qemu without acceleration, the host's root read-only below a tmpfs."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from lab.kernel_packages import Kernel

QEMU = "qemu-system-x86_64"
NEEDED_PROGRAMS = (QEMU, "busybox", "dpkg-deb", "setpriv")
CPUS = 2
CPU = "max,erms=off,fsrm=off"
"""Emulated, `rep movsb` is a loop over bytes; where the CPU has these, kernel and C library take it for every copy."""
ARGUMENTS = "console=ttyS0 panic=-1 quiet no_timer_check"
"""The check panics if of ten ticks five do not come (timer_irq_works, arch/x86/kernel/apic/io_apic.c): a host that
takes our CPUs away is enough."""
DIED = re.compile(r"^.*(?:BUG: |Oops: |Kernel panic|int3: |general protection fault|invalid opcode)", re.MULTILINE)
"""How the report of a kernel that died begins (arch/x86/kernel/traps.c, arch/x86/mm/fault.c)."""
STALE = re.compile(r"int3: 0000 .*?\bCode: (?:[0-9a-f]{2} )*?(?!cc)[0-9a-f]{2} <", re.DOTALL)
"""The kernel patches itself by way of breakpoints (text_poke_bp_batch, arch/x86/kernel/alternative.c). One was run that
memory no longer held: the byte before <that of RIP> is not cc. A real CPU cannot, as all are made to fetch anew
(text_poke_sync); qemu before 8.1 can (bugzilla.redhat.com 2216496, mended in its commit deba78709ae8)."""
TAIL_CHARACTERS = 2000
RUNNING: set[subprocess.Popen[str]] = set()
"""The machines of all threads."""
ENDED = Event()
MEMORY_MIB = 2048
OPEN_FILES = 20_000
"""The kernel gives its first process 1,024; every distribution's service manager gives more."""
LIMIT_SECONDS = 300.0
BOOT_MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
COMMON_MODULES = ("tcp_diag", "udp_diag", "unix_diag", "veth", "tun")
"""What a distribution loads at the first request; no modprobe is called in our machine."""

COMMAND = """\
mkdir -p /lib/modules/{version} && mount --bind {modules} /lib/modules/{version}
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root PYTHONDONTWRITEBYTECODE=1
cd {directory}
ulimit -n {files}
hostname testvm
ip link set lo up
{command} </dev/null >/run/exchange/stdout 2>/run/exchange/stderr
echo $? >/run/exchange/status
busybox poweroff -f
"""


class MachineError(Exception):
    """The machine did not boot, or not end in time; the text ends with the last lines of its console.

    stdout: what the command had printed until then.
    """

    def __init__(self, text: str, stdout: str = "") -> None:
        super().__init__(text)
        self.stdout = stdout


@dataclass(frozen=True)
class Result:
    """What a command left. seconds: from power on to power off."""

    status: int
    stdout: str
    stderr: str
    console: str
    seconds: float


def run(
    kernel: Kernel,
    command: Sequence[str],
    directory: Path,
    *,
    limit_seconds: float = LIMIT_SECONDS,
    kernel_arguments: str = "preempt=none",
    modules: Iterable[str] = COMMON_MODULES,
    devices: Sequence[str] = (),
    memory_mib: int = MEMORY_MIB,
) -> Result:
    """Boot, run one command as root, power off. Raises MachineError.

    directory: where to run it; files are as here, and what is written there is lost.
    modules: loaded at boot, besides those that the boot itself needs. devices: words for qemu, of further devices.
    """
    with tempfile.TemporaryDirectory(prefix="whodunnet-vm-") as temporary:
        exchange, initramfs = Path(temporary, "exchange"), Path(temporary, "initramfs")
        exchange.mkdir()
        words = {"directory": directory, "modules": kernel.module_directory, "files": OPEN_FILES}
        script = COMMAND.format(
            version=kernel.version, command=shlex.join(command), **{k: shlex.quote(str(v)) for k, v in words.items()}
        )
        kernel.index_modules()
        (exchange / "command").write_text(script)
        make_initramfs(kernel.modules((*BOOT_MODULES, *modules)), Path(temporary, "tree"), initramfs)
        began = time.monotonic()
        arguments = f"{ARGUMENTS} {kernel_arguments}"
        boot(kernel, initramfs, exchange, arguments, limit_seconds, (*devices, "-m", str(memory_mib)))
        return collect(exchange, time.monotonic() - began)


def missing_programs() -> list[str]:
    return [program for program in NEEDED_PROGRAMS if shutil.which(program) is None]


def make_initramfs(modules: dict[str, bytes], tree: Path, archive: Path) -> None:
    """The init script, a static busybox, and the modules with the order to load them."""
    for name in ("bin", "dev", "host", "modules", "over", "root"):
        (tree / name).mkdir(parents=True)
    shutil.copy(shutil.which("busybox") or "busybox", tree / "bin/busybox")
    shutil.copy(Path(__file__).parent / "machine_init", tree / "init")
    (tree / "init").chmod(0o755)
    for name, content in modules.items():
        (tree / "modules" / f"{name}.ko").write_bytes(content)
    (tree / "modules/order").write_text("\n".join(modules))
    names = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*")))
    with archive.open("wb") as output:
        subprocess.run(
            ["busybox", "cpio", "-o", "-H", "newc"], input=names.encode(), stdout=output, stderr=subprocess.DEVNULL,
            cwd=tree, check=True,
        )  # fmt: skip


def boot(
    kernel: Kernel, initramfs: Path, exchange: Path, arguments: str, limit_seconds: float, devices: Sequence[str]
) -> None:
    """Until the machine powers off. Raises MachineError if it takes longer or qemu itself fails."""
    # KVM is not asked for: where it is offered it may still not work, and the same machine everywhere is worth more.
    machine = f"-accel tcg,thread=multi -cpu {CPU} -smp {CPUS} -nodefaults -display none -no-reboot"
    until_we_end = ("setpriv", "--pdeathsig", "KILL")
    words = [
        *until_we_end,
        QEMU,
        *machine.split(),
        "-kernel",
        str(kernel.image),
        "-initrd",
        str(initramfs),
        "-append",
        arguments,
    ]
    words += ["-serial", f"file:{exchange / 'console'}", "-no-user-config", *devices]
    words += share("root", Path("/"), ",readonly=on,multidevs=remap") + share("exchange", exchange, "")
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, start_new_session=True) as qemu:
        RUNNING.add(qemu)
        if ENDED.is_set():
            qemu.kill()
        try:
            _, said = qemu.communicate(timeout=limit_seconds)
        except subprocess.TimeoutExpired:
            raise MachineError(f"no end after {limit_seconds:.0f} s\n{tails(exchange)}", printed(exchange)) from None
        finally:
            qemu.kill()
            RUNNING.discard(qemu)
    if qemu.returncode:
        raise MachineError(f"qemu ended with {qemu.returncode}: {said.strip()}", printed(exchange))


def end_all() -> None:
    """Whoever waits for one sees it end, and so does each that is started from now on."""
    ENDED.set()
    for qemu in [*RUNNING]:
        qemu.kill()


def share(tag: str, directory: Path, options: str) -> list[str]:
    """A directory of the host, to be mounted by its tag."""
    return [
        "-fsdev", f"local,id={tag},path={directory},security_model=none{options}",
        "-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}",
    ]  # fmt: skip


def collect(exchange: Path, seconds: float) -> Result:
    """What the command left. Raises MachineError if it did not come to its end."""
    if not (exchange / "status").exists():
        raise MachineError(f"the machine ended before the command did\n{tails(exchange)}", printed(exchange))
    return Result(
        status=int((exchange / "status").read_text()),
        stdout=printed(exchange),
        stderr=(exchange / "stderr").read_text(errors="replace"),
        console=(exchange / "console").read_text(errors="replace"),
        seconds=seconds,
    )


def printed(exchange: Path) -> str:
    path = exchange / "stdout"
    return path.read_text(errors="replace") if path.exists() else ""


def tails(exchange: Path) -> str:
    """The last lines of console, standard error and standard output; of a kernel that died, from its report on."""
    files = [exchange / name for name in ("console", "stderr", "stdout")]
    return "\n".join(f"--- {f.name}\n{tail(f.read_text(errors='replace'))}" for f in files if f.exists())


def tail(text: str) -> str:
    died = DIED.search(text)
    return text[died.start() :][:TAIL_CHARACTERS] if died else text[-TAIL_CHARACTERS:]


def emulator_failed(report: str) -> bool:
    """Whether a kernel died of what its emulator did, and of nothing that any program may have done to it."""
    return STALE.search(report) is not None
