"""Writes fixtures/gguf/blocks.safetensors: random blocks of every quantised type, and their values by the `gguf` package.

Run with numpy, safetensors and gguf 0.19: `python packages/goldens/scripts/gguf_blocks.py`.
"""

import pathlib

import gguf
import numpy
from safetensors.numpy import save_file

OUT = pathlib.Path(__file__).parent.parent / "fixtures" / "gguf" / "blocks.safetensors"
VALUES = 8192

# Byte positions of the f16 numbers in a block of each type.
HALVES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
    "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
}


def main():
    random = numpy.random.default_rng(7)
    tensors = {}
    for name, halves in HALVES.items():
        kind = gguf.GGMLQuantizationType[name]
        values, size = gguf.GGML_QUANT_SIZES[kind]
        blocks = random.integers(0, 256, (VALUES // values, size), dtype=numpy.uint8)
        for at in halves:
            # Every finite f16, subnormal ones and both zeros among them.
            bits = random.integers(0, 0x7C00, len(blocks), dtype=numpy.uint16)
            bits |= random.integers(0, 2, len(blocks), dtype=numpy.uint16) << 15
            bits[:4] = [0, 0x8000, 1, 0x83FF]
            blocks[:, at : at + 2] = bits.astype("<u2").view(numpy.uint8).reshape(-1, 2)
        tensors[f"{name}.blocks"] = blocks
        tensors[f"{name}.values"] = gguf.quants.dequantize(blocks, kind).astype(numpy.float32).reshape(-1)
    OUT.parent.mkdir(exist_ok=True)
    save_file(tensors, OUT, metadata={"gguf": "0.19.0"})


main()
