"""On what: GPUs, nodes and clusters of them, and the cloud instances that rent them."""

from sizeup.machine.cluster import Cluster, Node, parse_machine
from sizeup.machine.gpus import Gpu, GpuRow, find_gpu, gpu_names, list_gpus
from sizeup.machine.instances import (
    Instance,
    cheapest_instance,
    cheapest_instances,
    find_instance,
    list_instances,
)

__all__ = [
    "Cluster",
    "Gpu",
    "GpuRow",
    "Instance",
    "Node",
    "cheapest_instance",
    "cheapest_instances",
    "find_gpu",
    "find_instance",
    "gpu_names",
    "list_gpus",
    "list_instances",
    "parse_machine",
]
