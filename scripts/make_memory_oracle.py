"""Write the memory oracle: live bytes of eager Hugging Face training, op by op, without a GPU.

Real ``transformers`` and PEFT models run optimizer steps on the ``meta`` device, where tensors have shapes and
lifetimes but no data. A dispatch mode counts every storage from the operation that makes it until autograd or Python
lets go of it, in the 512-byte blocks of PyTorch's CUDA allocator. What a CUDA build does otherwise is put in by hand:

* which attention kernel ``scaled_dot_product_attention`` picks, and the buffers inside flash attention's backward;
* autocast, as a function mode with the lists of casts of CUDA and its cache of 16-bit weights;
* fused AdamW, which allocates nothing beyond its states.

The cuBLAS workspace of the card is added to every peak, as ``torch.cuda.max_memory_allocated`` counts it.

Two styles of training are run. ``loop``: a plain script; ``output = model(...)`` lives until the next step, AdamW is
foreach. ``trainer``: the defaults of ``transformers.Trainer`` 5; the output is dropped before the backward pass, logits
leave autocast as fp32, AdamW is fused.

Usage: ``python scripts/make_memory_oracle.py [--only WORD] [--explain WORD]``; needs torch, transformers and peft.
It writes ``src/sizeup/evidence/data/memory_oracle.csv`` (columns of the training table and five of moments) and the
configurations of models with fewer layers beside it. ``--explain`` prints what lives at the peak of matching cases.
"""

from __future__ import annotations

import argparse
import csv
import gc
import json
import logging
import time
import warnings
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
import transformers
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoConfig, AutoModelForCausalLM

Json = dict[str, Any]

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "src" / "sizeup" / "evidence" / "data"
CATALOG = ROOT / "src" / "sizeup" / "catalog" / "models"
GIB = 2**30
BLOCK = 512
CUBLAS_WORKSPACE = 32 * 2**20
MOMENTS = ("forward", "loss", "backward", "optimizer")
ATEN = torch.ops.aten


@dataclass
class Live:
    """One storage that is alive: its size, and the operation and shape that made it."""

    size: int
    made_by: str


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of live storages, and their peak in each phase."""

    def __init__(self) -> None:
        super().__init__()
        self.storages: dict[int, Live] = {}
        self.references: dict[int, weakref.ref[Any]] = {}
        self.now = 0
        self.phase = "setup"
        self.peaks: dict[str, int] = {}
        self.at_peak: dict[str, tuple[str, Counter[str]]] = {}
        self.explains = False

    def add(self, tensor: torch.Tensor, made_by: str) -> None:
        """Count the storage of ``tensor``, once."""
        if tensor.device.type != "meta":
            return
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self.references and self.references[key]() is storage:
            return
        size = -(-storage.nbytes() // BLOCK) * BLOCK
        self.storages[key] = Live(size, f"{made_by} {tuple(tensor.shape)} {str(tensor.dtype)[6:]}")
        self.references[key] = weakref.ref(storage, lambda _, key=key: self._drop(key))
        self.now += size

    def _drop(self, key: int) -> None:
        found = self.storages.pop(key, None)
        self.references.pop(key, None)
        self.now -= found.size if found else 0

    def note(self, extra: int, made_by: str) -> None:
        """Record the peak of the phase, with ``extra`` bytes that live inside one kernel only."""
        total = self.now + extra
        if total <= self.peaks.get(self.phase, 0):
            return
        self.peaks[self.phase] = total
        if self.explains:
            parts: Counter[str] = Counter()
            for item in self.storages.values():
                parts[item.made_by] += item.size
            self.at_peak[self.phase] = made_by, parts

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is ATEN._local_scalar_dense.default and args[0].device.type == "meta":
            # the only questions that models ask of values are whether nothing is padded or packed
            return args[0].dtype == torch.bool
        result = func(*args, **(kwargs or {}))
        name = func.__name__
        for value in torch.utils._pytree.tree_leaves(result):
            if isinstance(value, torch.Tensor):
                self.add(value, name)
        self.note(kernel_workspace(func, args), name)
        return result


def kernel_workspace(func: Any, args: tuple[Any, ...]) -> int:
    """Return the bytes that a CUDA kernel allocates and frees inside itself.

    Flash attention's backward: fp32 sums of the queries' gradient and of the row dot products, and with grouped
    queries the gradients of keys and values for every query head.
    """
    if func is not ATEN._scaled_dot_product_flash_attention_backward.default:
        return 0
    query, key = args[1], args[2]
    batch, heads, length, width = query.shape
    rounded, wide = -(-length // 128) * 128, -(-width // 32) * 32
    sums = 4 * batch * heads * rounded * (wide + 1)
    expanded = 2 * batch * heads * key.shape[2] * width * key.element_size()
    return sums + (expanded if key.shape[1] != heads else 0)


def attention(query: Any, key: Any, value: Any, mask: Any = None, dropout: float = 0.0, *, causal: bool) -> Any:
    """Run the kernel that CUDA would pick: flash without a mask, memory-efficient with one or in fp32."""
    half = query.dtype in (torch.bfloat16, torch.float16)
    if mask is None and half and query.shape[-1] <= 256:
        return ATEN._scaled_dot_product_flash_attention(query, key, value, dropout, causal)[0]
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    if mask is not None:
        if mask.dtype == torch.bool:
            mask = torch.zeros_like(mask, dtype=query.dtype).masked_fill_(mask.logical_not(), float("-inf"))
        mask = mask.expand(query.shape[0], query.shape[1], query.shape[2], key.shape[2])
    return ATEN._scaled_dot_product_efficient_attention(query, key, value, mask, True, dropout, causal)[0]


_LOWER = {
    F.linear, F.conv1d, torch.conv1d, torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__, torch.bmm, torch.mm,
    torch.addmm, torch.baddbmm, torch.einsum, F.scaled_dot_product_attention,
}  # fmt: skip
_FULL = {
    F.softmax, torch.softmax, torch.Tensor.softmax, F.log_softmax, F.layer_norm, F.cross_entropy, F.softplus, torch.pow,
    torch.Tensor.pow, torch.Tensor.__pow__, torch.rsqrt, torch.Tensor.rsqrt, torch.exp, torch.Tensor.exp, torch.log,
    torch.Tensor.log, torch.reciprocal, torch.Tensor.reciprocal, torch.sum, torch.Tensor.sum, torch.cumsum,
    torch.Tensor.cumsum, torch.prod,
}  # fmt: skip


class CudaLike(TorchFunctionMode):
    """CUDA's choice of attention kernels, and its autocast where asked for."""

    def __init__(self, *, autocast: bool) -> None:
        super().__init__()
        self.autocast = autocast
        self.caches = True
        self.cache: dict[int, torch.Tensor] = {}

    def leave_autocast(self) -> None:
        """Drop the 16-bit weights; recomputation enters autocast again, one layer at a time."""
        self.cache.clear()
        self.caches = False

    def _to(self, value: Any, dtype: torch.dtype) -> Any:
        if isinstance(value, (list, tuple)) and not isinstance(value, torch.Size):
            return type(value)(self._to(item, dtype) for item in value)
        if not isinstance(value, torch.Tensor) or not value.is_floating_point() or value.dtype == dtype:
            return value
        if not (self.caches and value.is_leaf and value.requires_grad and value.dtype == torch.float32):
            return value.to(dtype)
        if id(value) not in self.cache:
            self.cache[id(value)] = value.to(dtype)
        return self.cache[id(value)]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if self.autocast and (func in _LOWER or func in _FULL):
            dtype = torch.bfloat16 if func in _LOWER else torch.float32
            args = tuple(self._to(value, dtype) for value in args)
            kwargs = {name: self._to(value, dtype) for name, value in kwargs.items()}
        if func is not F.scaled_dot_product_attention:
            return func(*args, **kwargs)
        mask, dropout = kwargs.get("attn_mask"), kwargs.get("dropout_p", 0.0)
        return attention(*args[:3], mask, dropout, causal=kwargs.get("is_causal", False))


class FusedAdamW(torch.optim.AdamW):
    """AdamW whose step allocates nothing but its states, as the fused CUDA kernel."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """Make the states of each weight with a gradient, once."""
        for group in self.param_groups:
            for weight in group["params"]:
                state = self.state[weight]
                if weight.grad is not None and not state:
                    state["exp_avg"] = torch.zeros_like(weight)
                    state["exp_avg_sq"] = torch.zeros_like(weight)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One case: a model (with ``layers`` of its layers), a precision, a batch and what is trained."""

    model: str
    layers: int = 0
    precision: str = "bf16"
    batch: int = 1
    length: int = 2048
    attention: str = "sdpa"
    checkpoints: bool = False
    style: str = "trainer"
    rank: int = 0
    targets: str = "all-linear"
    adapter: str = "fp32"
    dropout: float = 0.0
    case_id: str = field(default="", compare=False)

    @property
    def model_key(self) -> str:
        """The name of the model's configuration file."""
        stem = self.model.replace("/", "--")
        return f"{stem}-l{self.layers}" if self.layers else stem

    @property
    def words(self) -> str:
        """A line that says what the case is."""
        tuned = f"lora-r{self.rank}-{self.targets}-{self.adapter}-drop{self.dropout}" if self.rank else "full"
        return (
            f"{self.model_key} {self.precision} {self.batch}x{self.length} {self.attention} {tuned} {self.style}"
            f"{' checkpoints' if self.checkpoints else ''}"
        )


LIST_KEYS = ("layer_types", "mlp_layer_types")
DEPTH_KEYS = ("num_hidden_layers", "n_layer")


def configuration(recipe: Recipe) -> Json:
    """Return the configuration of the recipe's model, cut to its number of layers."""
    stem = recipe.model.replace("/", "--")
    own = DATA / "models" / f"{stem}.json"
    values: Json = json.loads((own if own.is_file() else CATALOG / f"{stem}.json").read_text("utf-8"))
    values = dict(values.get("config", values))
    if recipe.layers:
        for key in DEPTH_KEYS:
            if key in values:
                values[key] = recipe.layers
        for key in LIST_KEYS:
            if values.get(key):
                values[key] = values[key][: recipe.layers]
        if "max_window_layers" in values:
            values["max_window_layers"] = min(values["max_window_layers"], recipe.layers)
    return values


def build(recipe: Recipe, cuda: CudaLike) -> torch.nn.Module:
    """Return the model on the meta device, ready to train.

    A function mode is off inside the functions that it sees, ``backward`` among them, so recomputation turns it on.
    """
    values = configuration(recipe)
    config = AutoConfig.for_model(values["model_type"], **{k: v for k, v in values.items() if k != "model_type"})
    dtype = torch.bfloat16 if recipe.precision == "bf16" or recipe.rank else torch.float32
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, attn_implementation=recipe.attention, dtype=dtype)
        if recipe.rank:
            model = with_adapters(model, recipe)
    if recipe.checkpoints:
        contexts = {"preserve_rng_state": False, "context_fn": lambda: (nullcontext(), cuda)}
        model.gradient_checkpointing_enable({"use_reentrant": False, **contexts})
    return model.train()


def with_adapters(model: torch.nn.Module, recipe: Recipe) -> torch.nn.Module:
    """Return the model with LoRA."""
    from peft import LoraConfig, get_peft_model

    named = {"all-linear": "all-linear", "qv": ["q_proj", "v_proj"]}[recipe.targets]
    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=2 * recipe.rank,
        target_modules=named,
        lora_dropout=recipe.dropout,
        task_type="CAUSAL_LM",
    )
    adapted = get_peft_model(model, config, autocast_adapter_dtype=recipe.adapter == "fp32")
    for name, weight in adapted.named_parameters():
        # on a real device PEFT does this itself
        if "lora_" in name and recipe.adapter == "bf16":
            weight.data = weight.data.to(torch.bfloat16)
    return adapted


@contextmanager
def in_phase(counter: LiveBytes, name: str) -> Iterator[None]:
    """Count peaks under ``name`` for a while."""
    before, counter.phase = counter.phase, name
    try:
        yield
    finally:
        counter.phase = before


def marks_loss(model: torch.nn.Module, counter: LiveBytes) -> None:
    """Count what happens inside the model's loss function as the loss."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    plain: Callable[..., Any] = base.loss_function

    def loss(*args: Any, **kwargs: Any) -> Any:
        with in_phase(counter, "loss"):
            return plain(*args, **kwargs)

    base.loss_function = loss


@dataclass(frozen=True)
class Result:
    """Peaks by phase and what lives between phases [bytes]."""

    peaks: dict[str, int]
    after_forward: int
    steady: int
    trainable: int


def one_step(model: Any, optimizer: Any, recipe: Recipe, counter: LiveBytes, cuda: CudaLike) -> int:
    """Run one optimizer step; return what lives after the forward pass, before the output is dropped or not."""
    ids = torch.zeros(recipe.batch, recipe.length, dtype=torch.long, device="meta")
    cuda.caches = True
    with in_phase(counter, "forward"):
        output = model(input_ids=ids, labels=ids, use_cache=False)
        if cuda.autocast and recipe.style == "trainer":
            output["logits"] = output["logits"].float()
        loss = output["loss"]
    cuda.leave_autocast()
    if recipe.style == "trainer":
        del output
    after = counter.now
    with in_phase(counter, "backward"):
        loss.backward()
    with in_phase(counter, "optimizer"):
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return after


def measure(recipe: Recipe, *, explains: bool = False) -> tuple[Result, LiveBytes]:
    """Run two optimizer steps of ``recipe`` and return its peaks; the second has the optimizer's states."""
    counter, cuda = LiveBytes(), CudaLike(autocast=recipe.precision == "autocast")
    model = build(recipe, cuda)
    counter.explains = explains
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        counter.add(tensor, "weight" if isinstance(tensor, torch.nn.Parameter) else f"buffer {name}")
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    fused = recipe.style == "trainer"
    optimizer = FusedAdamW(trained) if fused else torch.optim.AdamW(trained, foreach=True)
    marks_loss(model, counter)
    after = 0
    with ExitStack() as stack:
        stack.enter_context(counter)
        stack.enter_context(cuda)
        for _ in range(2):
            after = one_step(model, optimizer, recipe, counter, cuda)
    gc.collect()
    trainable = sum(weight.numel() for weight in trained)
    return Result(dict(counter.peaks), after, counter.now, trainable), counter


LLAMA_1B = "meta-llama/Llama-3.2-1B"
LLAMA_3B = "meta-llama/Llama-3.2-3B"
LLAMA_8B = "meta-llama/Llama-3.1-8B"


def recipes() -> Iterator[Recipe]:
    """Return every case, without a name."""
    yield from full_recipes()
    yield from adapter_recipes()


def full_recipes() -> Iterator[Recipe]:
    """Return full fine-tuning."""
    for batch, length in ((1, 512), (1, 2048), (4, 2048), (8, 2048), (1, 8192), (2, 4096)):
        for style in ("trainer", "loop"):
            yield Recipe(model=LLAMA_1B, batch=batch, length=length, style=style)
    for checkpoints in (False, True):
        for precision in ("bf16", "autocast", "fp32"):
            for model, layers in ((LLAMA_8B, 4), ("Qwen/Qwen2.5-1.5B", 0), ("microsoft/Phi-3-mini-4k-instruct", 8)):
                yield Recipe(model=model, layers=layers, precision=precision, batch=4, checkpoints=checkpoints)
    for model, layers in OTHERS:
        for checkpoints in (False, True):
            for style, precision in (("trainer", "bf16"), ("loop", "autocast")):
                length = 1024 if model.startswith("openai") else 2048
                # the products of all experts at once exist in bf16 only
                precision = "bf16" if "A3B" in model or "Mixtral" in model else precision
                yield Recipe(model=model, layers=layers, precision=precision, batch=2, length=length, style=style,
                             checkpoints=checkpoints, attention=usual_attention(model))  # fmt: skip
    for model, layers in ((LLAMA_1B, 0), (LLAMA_8B, 4), ("Qwen/Qwen3-8B", 4), ("google/gemma-2-2b", 8)):
        for precision in ("bf16", "autocast"):
            yield Recipe(model=model, layers=layers, precision=precision, batch=2, attention="eager")
    yield Recipe(model="openai-community/gpt2", precision="fp32", batch=8, length=1024, attention="eager")
    for batch, length in ((1, 1024), (4, 2048), (8, 4096)):
        yield Recipe(model=LLAMA_3B, batch=batch, length=length, checkpoints=True, precision="autocast")


OTHERS = (
    ("Qwen/Qwen3-8B", 6), ("Qwen/Qwen3-0.6B", 0), ("google/gemma-2-2b", 8), ("google/gemma-3-1b-it", 0),
    ("mistralai/Mistral-7B-v0.1", 6), ("openai-community/gpt2", 0), ("Qwen/Qwen3-30B-A3B", 4),
    ("mistralai/Mixtral-8x7B-v0.1", 2),
)  # fmt: skip


def usual_attention(model: str) -> str:
    """Return what transformers picks: Gemma 2 caps its scores, which only materialised attention can."""
    return "eager" if "gemma-2" in model else "sdpa"


def adapter_recipes() -> Iterator[Recipe]:
    """Return LoRA."""
    for targets in ("qv", "all-linear"):
        for rank in (8, 16, 64):
            yield Recipe(model=LLAMA_3B, rank=rank, targets=targets, batch=4, length=768, style="loop")
    for adapter in ("fp32", "bf16"):
        for checkpoints in (False, True):
            for batch, length in ((1, 2048), (8, 2048)):
                yield Recipe(model=LLAMA_8B, layers=8, rank=16, adapter=adapter, batch=batch, length=length,
                             checkpoints=checkpoints)  # fmt: skip
    for model, layers in (("Qwen/Qwen2.5-7B", 6), ("mistralai/Mistral-7B-v0.1", 6), ("google/gemma-2-2b", 8)):
        for dropout in (0.0, 0.05):
            yield Recipe(
                model=model, layers=layers, rank=16, dropout=dropout, batch=2, attention=usual_attention(model)
            )
    for precision in ("bf16", "autocast"):
        yield Recipe(model=LLAMA_1B, rank=16, precision=precision, batch=4)
        yield Recipe(model=LLAMA_1B, rank=16, precision=precision, batch=4, targets="qv", adapter="bf16", dropout=0.05)


def row_of(recipe: Recipe, result: Result) -> Json:
    """Return the row of a case, in the words of the training table."""
    full = max(result.peaks.values()) + CUBLAS_WORKSPACE
    master = recipe.adapter if recipe.rank else {"bf16": "bf16"}.get(recipe.precision, "fp32")
    row: Json = {
        "case_id": recipe.case_id, "group": "torch-memtracker", "year": "2026", "quality": "A",
        "source": "scripts/make_memory_oracle.py", "kind": "lora" if recipe.rank else "full",
        "framework": "hf-trainer" if recipe.style == "trainer" else "hf",
        "framework_version": f"transformers {transformers.__version__} {recipe.style}", "model": recipe.model_key,
        "seq_len": recipe.length, "gpu": "h100-sxm5-80gb", "n_gpus": 1, "gpus_per_node": 1, "tp": 1, "pp": 1, "cp": 1,
        "dp": 1, "sharding": "none", "micro_batch": recipe.batch, "global_batch": recipe.batch,
        "recompute": "full" if recipe.checkpoints else "none",
        "compute_dtype": "fp32" if recipe.precision == "fp32" else "bf16", "master_weights": master,
        "grad_dtype": master, "optimizer": "adamw", "attention": recipe.attention, "compile": "no",
        "mem_gib": round(full / GIB, 4), "mem_meter": "allocated", "mem_rank": "single",
        "notes": recipe.words, "after_forward_gib": round(result.after_forward / GIB, 4),
    }  # fmt: skip
    if recipe.rank:
        row |= {"lora_rank": recipe.rank, "lora_targets": recipe.targets, "trainable_params": result.trainable}
    for name in MOMENTS:
        row[f"peak_{name}_gib"] = round(result.peaks.get(name, 0) / GIB, 4)
    return row


def numbered(only: str) -> list[Recipe]:
    """Return the distinct cases with their names, those whose words hold ``only``."""
    distinct = list(dict.fromkeys(recipes()))
    named = [Recipe(**{**vars(r), "case_id": f"memtracker-{i:04}"}) for i, r in enumerate(distinct, 1)]
    return [recipe for recipe in named if only in recipe.words]


def write_configuration(recipe: Recipe) -> None:
    """Write the configuration of a model with fewer layers, for the prediction to read."""
    path = DATA / "models" / f"{recipe.model_key}.json"
    if recipe.layers:
        path.write_text(json.dumps(configuration(recipe), indent=1, sort_keys=True) + "\n", "utf-8")


def write_rows(rows: Iterable[Json]) -> None:
    """Write the table: the columns of the training table, then the moments."""
    with (DATA / "training.csv").open(encoding="utf-8", newline="") as stream:
        columns = next(csv.reader(stream))
    extra = ["after_forward_gib", *(f"peak_{name}_gib" for name in MOMENTS)]
    with (DATA / "memory_oracle.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, [*columns, *extra], restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def explain(recipe: Recipe) -> None:
    """Print what lives at the peak of each phase."""
    result, counter = measure(recipe, explains=True)
    print(recipe.words, f"after forward {result.after_forward / GIB:.3f} GiB", sep="\n")
    for name in MOMENTS:
        operation, parts = counter.at_peak[name]
        print(f"{name}: {result.peaks[name] / GIB:.3f} GiB at {operation}")
        for made_by, size in parts.most_common(28):
            print(f"  {size / 2**20:10.1f} MiB  {made_by}")


def main() -> None:
    """Run the cases."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", default="", help="run only cases whose words hold this; write nothing")
    parser.add_argument("--explain", default="", help="print what lives at the peaks of cases whose words hold this")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    if options.explain:
        for recipe in numbered(options.explain):
            explain(recipe)
        return
    rows = []
    for recipe in numbered(options.only):
        start = time.monotonic()
        result, _ = measure(recipe)
        rows.append(row_of(recipe, result))
        print(f"{rows[-1]['mem_gib']:9.3f} GiB {time.monotonic() - start:6.1f} s  {recipe.words}", flush=True)
        if not options.only:
            write_configuration(recipe)
    if not options.only:
        write_rows(rows)


if __name__ == "__main__":
    main()
