"""Whatever is asked, an answer or an error that names what is wrong: no traceback, no line beyond 80 columns."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from sizeup.cli import cli
from sizeup.errors import UserError

MODELS = ("llama-3.1-8b", "deepseek-v3", "mixtral-8x7b", "kimi-k2-instruct", "jamba", "gpt2", "70b", "t5-3b", "none")
HARDWARE = ("h100", "rtx-4090", "8xh200", "p5.48xlarge", "mi300x", "tpu-v5p", "t4", "a10g", "rtx4900")
FLAGS = {
    "train": {
        "--gpus": ("1", "3", "64"), "--method": ("full", "lora", "qlora"), "--framework": ("hf", "megatron", "none"),
        "--sequence-length": ("1", "1m"), "--global-batch": ("7", "1024"), "--tokens": ("15T",), "--tp": ("3", "8"),
        "--pp": ("2", "5"), "--micro-batch": ("64",), "--sharding": ("zero1", "fsdp"), "--dtype": ("fp8", "nvfp4"),
        "--optimizer": ("muon", "sgd"), "--ep": ("8",), "--cp": ("2",),
    },
    "serve": {
        "--gpus": ("1", "3", "16"), "--engine": ("sglang", "llama.cpp", "transformers", "none"),
        "--engine-version": ("0.6.3", "99"), "--format": ("q4_k_m", "nvfp4", "zz"), "--cache-dtype": ("fp8", "q8_0"),
        "--tp": ("2", "3"), "--pp": ("2",), "--ep": ("4",), "--dp": ("2",), "--input": ("1", "1m"), "--output": ("1",),
        "--rate": ("0.1", "1000"), "--burst": ("5",), "--tpot": ("5",), "--max-model-len": ("10", "128k"),
    },
}  # fmt: skip


@pytest.mark.parametrize("command", FLAGS)
@settings(max_examples=40)
@given(data=st.data())
def test_anything_asked_is_answered_or_refused(command: str, data: st.DataObject) -> None:
    words = [command, data.draw(st.sampled_from(MODELS)), "--gpu", data.draw(st.sampled_from(HARDWARE))]
    for flag in data.draw(st.lists(st.sampled_from(sorted(FLAGS[command])), max_size=4, unique=True)):
        words += [flag, data.draw(st.sampled_from(FLAGS[command][flag]))]
    answer = CliRunner().invoke(cli, words, standalone_mode=False)
    assert answer.exception is None or isinstance(answer.exception, (UserError, click.ClickException)), words
    if answer.exception is None:
        assert answer.return_value in (0, 1)
        # a command to type next is not broken
        wide = [line for line in answer.output.splitlines() if len(click.unstyle(line)) > 80 and "sizeup " not in line]
        assert wide == [], words
