"""The confinement of a tool server: it cannot look into its user's other processes.

The worker's memory and environment hold secrets. Landlock (Linux 5.19 and newer, for every user) puts the server into
its own domain. A process in it may not trace outside processes, nor read their `/proc`. Landlock also takes away setuid
programs, and other processes' abstract sockets (Linux 6.12 and newer) or mounting (before). Nothing else changes.
Landlock does not confine root. Where workers run as root, servers lose the capabilities that would undo it.
"""

import ctypes
import os
from collections.abc import Callable

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_VERSION = 1
_PATH_BENEATH = 1
_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 24, 38
# SYS_PTRACE, SYS_ADMIN, PERFMON: each lets root read other processes' memory, whatever Landlock says.
_CAPABILITIES = (19, 21, 38)
# A domain must refuse something. On a newer kernel that is the sockets. On an older one it is moving files between
# folders, which is then allowed everywhere.
_SCOPE_ABSTRACT_SOCKETS = 1 << 0
_REFER = 1 << 13
_SCOPED_SINCE, _REFER_SINCE = 6, 2


class _Ruleset(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


def confinement(newest: int = _SCOPED_SINCE) -> Callable[[], None] | None:
    """Return a function for a new process to call before it becomes the server; None: the kernel has no Landlock.

    Args:
        newest: the version of Landlock to use at most.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    version = min(newest, libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _ASK_VERSION))
    if version < _REFER_SINCE:
        return None
    ruleset = _scoped(libc) if version >= _SCOPED_SINCE else _referring(libc)
    if ruleset < 0:
        return None

    def enter() -> None:
        # This runs between fork and exec, so it takes no lock and raises nothing.
        for capability in _CAPABILITIES:
            libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        libc.syscall(_RESTRICT_SELF, ruleset, 0)

    return enter


def _scoped(libc: ctypes.CDLL) -> int:
    wanted = _Ruleset(0, 0, _SCOPE_ABSTRACT_SOCKETS)
    return int(libc.syscall(_CREATE_RULESET, ctypes.byref(wanted), ctypes.c_size_t(ctypes.sizeof(wanted)), 0))


def _referring(libc: ctypes.CDLL) -> int:
    wanted = ctypes.c_uint64(_REFER)
    ruleset = int(libc.syscall(_CREATE_RULESET, ctypes.byref(wanted), ctypes.c_size_t(8), 0))
    if ruleset < 0:
        return ruleset
    root = os.open("/", os.O_PATH | os.O_CLOEXEC)
    try:
        everywhere = _PathBeneath(_REFER, root)
        if libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(everywhere), 0) != 0:
            os.close(ruleset)
            return -1
    finally:
        os.close(root)
    return ruleset
