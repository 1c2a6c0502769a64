"""What bpf/sockets.bpf.c hands over of single sockets and groups of them, decoded into model words."""

from __future__ import annotations

import socket
from typing import Any

from whodunnet.errors import MalformedError
from whodunnet.model.sockets import (
    DroppingSocket,
    Endpoint,
    Holding,
    NameSocket,
    Protocol,
    Role,
    SocketGroup,
    StuckSocket,
    Symptom,
)

PROTOCOLS: tuple[Protocol, ...] = ("tcp", "mptcp", "udp", "unix", "other")
ROLES: tuple[Role, ...] = ("listener", "accepted", "initiated", "unconnected")
HOLDINGS: tuple[Holding, ...] = ("descriptor", "accept-queue", "orphan", "kernel", "no-descriptor")
SYMPTOMS: tuple[Symptom, ...] = ("none", "unread", "window-closed", "never-connected", "dead")
STATES = (
    "none", "established", "syn-sent", "syn-recv", "fin-wait-1", "fin-wait-2", "time-wait", "close", "close-wait",
    "last-ack", "listen", "closing", "new-syn-recv", "bound-inactive",
)  # fmt: skip
"""Names of the numbers in include/net/tcp_states.h."""
UNCHANGED = {0: False, 1: True, 2: None}


def state_name(number: int) -> str:
    """Name of a TCP state; "none" for one that this kernel has and we do not know."""
    return STATES[number] if number < len(STATES) else "none"


def decode_address(ffi: Any, address: Any, family: int) -> str:
    """Text form of an address of 4 or 16 bytes."""
    if family == 4:
        return socket.inet_ntop(socket.AF_INET, ffi.buffer(address, 4)[:])
    return socket.inet_ntop(socket.AF_INET6, ffi.buffer(address, 16)[:])


def decode_group(ffi: Any, key: Any, value: Any, first_pass: bool) -> SocketGroup:
    """One entry of the groups map. Raises MalformedError."""
    try:
        role, symptom = ROLES[key.role], SYMPTOMS[key.symptom]
        protocol, holding = PROTOCOLS[key.protocol], HOLDINGS[key.holding]
    except IndexError as error:
        raise MalformedError("a group of sockets has a number without a name: rebuild the package") from error
    endpoint = None
    if key.port:
        initiated = role == "initiated" or (role == "unconnected" and symptom == "dead")
        endpoint = Endpoint(decode_address(ffi, key.address, key.family) if initiated else None, key.port)
    compared = protocol == "tcp" and (symptom != "none" or holding == "accept-queue")
    return SocketGroup(
        owner_pid=key.pid or None,
        netns=key.netns,
        protocol=protocol,
        family=key.family,
        state=state_name(key.state),
        role=role,
        holding=holding,
        symptom=symptom,
        endpoint=endpoint,
        cgroup_id=key.cgroup_id or None,
        sockets=value.sockets,
        memory_bytes=value.memory_bytes,
        receive_bytes=value.receive_bytes,
        send_bytes=value.send_bytes,
        unread_bytes=value.unread_bytes,
        unsent_bytes=value.unsent_bytes,
        unchanged=None if first_pass or not compared else value.unchanged,
        shared=value.shared,
        unmarked=value.unmarked,
        ages=tuple(value.ages) if any(value.ages) else (),
    )


def decode_stuck(ffi: Any, item: Any) -> StuckSocket:
    """One socket of the sample. Raises MalformedError."""
    try:
        symptom, holding, role = SYMPTOMS[item.symptom], HOLDINGS[item.holding], ROLES[item.role]
        unchanged = UNCHANGED[item.unchanged]
    except LookupError as error:
        raise MalformedError("a stuck socket has a number without a name: rebuild the package") from error
    return StuckSocket(
        owner_pid=item.pid or None,
        netns=item.netns,
        symptom=symptom,
        holding=holding,
        role=role,
        local=Endpoint(decode_address(ffi, item.local_address, item.family), item.local_port),
        remote=Endpoint(decode_address(ffi, item.remote_address, item.family), item.remote_port),
        memory_bytes=item.memory_bytes,
        unread_bytes=item.unread_bytes,
        unsent_bytes=item.unsent_bytes,
        unchanged=unchanged,
    )


def decode_dropping(ffi: Any, item: Any) -> DroppingSocket:
    """One UDP socket."""
    remote = Endpoint(decode_address(ffi, item.remote_address, item.family), item.remote_port)
    return DroppingSocket(
        owner_pid=item.pid or None,
        netns=item.netns,
        inode=item.inode,
        local=Endpoint(decode_address(ffi, item.local_address, item.family), item.local_port),
        remote=remote if item.remote_port else None,
        dropped=item.dropped,
        unread_bytes=item.unread_bytes,
        limit_bytes=item.limit_bytes,
        shared=bool(item.shared),
    )


def decode_names(ffi: Any, item: Any) -> NameSocket:
    """One UDP socket that names are asked for through."""
    found = decode_dropping(ffi, item)
    return NameSocket(
        owner_pid=found.owner_pid, netns=found.netns, inode=found.inode, local=found.local, remote=found.remote,
        shared=found.shared, unread_bytes=found.unread_bytes,
    )  # fmt: skip
