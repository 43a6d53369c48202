"""Trims golden cases of softmax attention to what the tests read: inputs and `o`, and one cases.json with sizes and tolerances.

A case is a folder with `golden.safetensors` (made by PyTorch's scaled_dot_product_attention on CPU, checked against a float64 formula)
and `case.json`. Run: `python packages/goldens/scripts/attention.py FOLDER_OF_CASES`.
"""

import json
import pathlib
import sys

from safetensors.numpy import load_file, save_file

OUT = pathlib.Path(__file__).parent.parent / "fixtures" / "attention"
# 264 KB of one decoding step; the tests of the operation have longer contexts.
LEFT_OUT = {"softmax_decode_tk517_d64"}

cases = {}
OUT.mkdir(parents=True, exist_ok=True)
for folder in sorted(pathlib.Path(sys.argv[1]).glob("softmax_*")):
    if folder.name in LEFT_OUT:
        continue
    case = json.loads((folder / "case.json").read_text())
    tensors = load_file(folder / "golden.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if name != "lse"}
    save_file(kept, OUT / f"{folder.name}.safetensors")
    tolerance = case["tolerance"]["per_tensor"]["o"]
    cases[folder.name] = {
        "formula": case["formula"],
        "params": case["params"],
        "versions": {name: case["versions"][name] for name in ("torch", "dtype")},
        "tolerance": {"relNorm": tolerance["rel_norm"], "maxAbs": tolerance["max_abs"]},
    }
(OUT / "cases.json").write_text(json.dumps(cases, indent=1) + "\n")
print(f"{len(cases)} cases")
