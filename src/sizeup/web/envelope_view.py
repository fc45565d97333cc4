"""What the page shows of the back-of-the-envelope rules applied to a model."""

from __future__ import annotations

from sizeup.envelope_model import ModelEnvelope
from sizeup.units import format_count, format_gb, significant
from sizeup.web.view import Figure, Notes, Pictures, Table, View
from sizeup.web.whys import envelope_whys


def envelope_view(found: ModelEnvelope) -> View:
    """Return the view of the rules applied to a model."""
    peak = f"{found.utilization:.0%} of the {found.dtype} peak of {found.gpu.name}"
    whys = envelope_whys(found)
    figures = [
        Figure(label="To store", text=format_gb(found.store_bytes), note="4 bytes per parameter", why=whys["store"]),
        Figure(label="To train", text=format_gb(found.train_bytes), note="24 bytes per parameter", why=whys["train"]),
        Figure(label="Work", text=f"{significant(found.petaflop_s_days)} petaflop/s-days",
               note=f"{found.rule} on {format_count(found.tokens)} tokens ({found.tokens_note})", why=whys["work"]),
        Figure(label="GPU time", text=f"{significant(found.gpu_days)} GPU-days", note=f"at {peak}",
               why=whys["gpu_days"]),
    ]  # fmt: skip
    if found.pretraining_days is not None:
        figures.append(Figure(label=f"On {found.gpus:,} GPUs", text=f"{significant(found.pretraining_days)} days"))
    head = ("Rule", "GPUs by label", "GPUs by usable memory", "From first principles")
    rows = (
        ("store, 4 B", f"{found.inference_gpus:,}", f"{found.inference_gpus_driver:,}", found.exact_store),
        ("train, 24 B", f"{found.training_gpus:,}", f"{found.training_gpus_driver:,}", found.exact_train),
        ("LoRA, twice to store", f"{found.lora_gpus:,}", f"{found.lora_gpus_driver:,}", found.exact_lora),
    )
    blocks = (
        Table(title=f"How many {found.gpu.name}", head=head, rows=rows, align="<>><"),
        Pictures(),
        Notes(title="Where the rules are loose", items=found.remarks),
    )
    return View(
        state="plain", verdict="On the back of an envelope", headline=f"{found.name} on {found.gpu.name}",
        lead=f"{found.parameters:,} parameters; the quick rules, with the exact sizes beside them",
        figures=tuple(figures), blocks=blocks,
    )  # fmt: skip
