"""Write the oracle data: class defaults, parameter counts and cache sizes.

The command needs ``torch`` and ``transformers``; the files that it writes need
neither.  Models are built on the ``meta`` device, so no weight is allocated,
except where a forward pass cannot be traced there: then a tiny model is run on
the CPU.  The work is done in the package ``oracle`` beside this file.

Subcommands: ``defaults``, ``parameters``, ``multimodal``, ``cache`` and ``all``.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from pathlib import Path

import torch
import transformers

from oracle.build import allow_scalars_on_meta
from oracle.cache import write_cache
from oracle.common import ORACLE, causal_types, multimodal_types
from oracle.defaults import write_defaults
from oracle.multimodal import write_multimodal
from oracle.parameters import write_parameters

WRITERS = {
    "parameters": (write_parameters, causal_types),
    "multimodal": (write_multimodal, multimodal_types),
    "cache": (write_cache, causal_types),
}
"""What writes each file of cases, and the types it is made for, in the order of ``all``."""


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["defaults", *WRITERS, "all"])
    parser.add_argument("--types", nargs="*", help="only these model types (partial files)")
    parser.add_argument("--directory", type=Path, default=ORACLE, help="where the case files go")
    return parser.parse_args()


def main() -> None:
    """Write the files asked for."""
    arguments = parse()
    logging.disable(logging.ERROR)
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    library = allow_scalars_on_meta()
    if arguments.command in ("defaults", "all"):
        write_defaults()
    for name, (write, types) in WRITERS.items():
        if arguments.command in (name, "all"):
            write(arguments.types or types(), arguments.directory)
    del library  # the stand-ins live as long as this


if __name__ == "__main__":
    main()
