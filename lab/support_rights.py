"""Under which rights a program is started: as root, or as nobody with some capabilities and no others."""

from __future__ import annotations

NOBODY = "65534"
DOCUMENTED = ("bpf", "perfmon", "sys_ptrace", "sys_admin", "net_admin", "syslog", "dac_read_search")
"""Those of docs/architecture.md, Privileges."""

RIGHTS: dict[str, tuple[str, ...] | None] = {
    "root": None,
    "documented": DOCUMENTED,
    "bpf": ("bpf", "perfmon"),
    "none": (),
}
"""Name -> capabilities of an ordinary user, None: root as it is."""

TITLES = {
    "root": "Root",
    "documented": "An ordinary user with the seven capabilities",
    "bpf": "An ordinary user with CAP_BPF and CAP_PERFMON alone",
    "none": "An ordinary user without any",
}


def under(rights: str) -> list[str]:
    """The words before a command that start it so; setpriv(1) keeps the capabilities over the exec as ambient ones."""
    capabilities = RIGHTS[rights]
    if capabilities is None:
        return []
    kept = ",".join(("-all", *(f"+{name}" for name in capabilities)))
    sets = [f"--{which}={kept}" for which in ("inh-caps", "ambient-caps", "bounding-set")]
    return ["setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", *sets, "--no-new-privs"]
