"""Provenance of results: configuration, hardware, CPU time."""

import dataclasses
import hashlib
import json
import os
import platform
import resource
from pathlib import Path
from typing import Any


def plain(value: Any) -> Any:
    """Convert dataclasses, paths and tuples to JSON types; the class name of a dataclass is stored as `kind`."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"kind": type(value).__name__, **fields}
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return str(value) if isinstance(value, Path) else value


def config_hash(config: Any) -> str:
    """Return a hash of a configuration (12 hex digits), independent of the order of its keys."""
    return hashlib.sha256(json.dumps(plain(config), sort_keys=True).encode()).hexdigest()[:12]


def hardware(device: str = "cpu") -> dict[str, Any]:
    """Return processor, usable cores, memory [GiB], system and device."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30 if hasattr(os, "sysconf") else None
    return {
        "processor": processor(),
        "cores": cores,
        "memory_gib": memory and round(memory, 1),
        "system": f"{platform.system()} {platform.release()}",
        "device": device,
    }


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def cpu_minutes() -> float:
    """Return the CPU time [min] of this process and of its finished child processes so far."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used) / 60
