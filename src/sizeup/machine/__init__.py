"""On what: GPUs, nodes and clusters of them, and the cloud instances that rent them.

The parts are imported when they are first used, because a command that only looks a card up should not wait for them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sizeup.machine.cluster import Cluster, Node, cluster_of, instance_node, node_of, parse_machine
    from sizeup.machine.gpus import Gpu, GpuRow, find_gpu, gpu_names, list_gpus
    from sizeup.machine.instances import (
        Instance,
        cheapest_instance,
        cheapest_instances,
        find_instance,
        list_instances,
    )

_HOMES = {
    "cluster": ("Cluster", "Node", "cluster_of", "instance_node", "node_of", "parse_machine"),
    "gpus": ("Gpu", "GpuRow", "find_gpu", "gpu_names", "list_gpus"),
    "instances": ("Instance", "cheapest_instance", "cheapest_instances", "find_instance", "list_instances"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Cluster",
    "Gpu",
    "GpuRow",
    "Instance",
    "Node",
    "cheapest_instance",
    "cheapest_instances",
    "cluster_of",
    "find_gpu",
    "find_instance",
    "gpu_names",
    "instance_node",
    "list_gpus",
    "list_instances",
    "node_of",
    "parse_machine",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
