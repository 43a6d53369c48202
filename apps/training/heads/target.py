"""The frozen target: one pass gives everything that heads learn from."""

import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional as F

sys.path.append(str(Path(__file__).resolve().parent.parent))
from export import load_weights  # noqa: E402
from model import TARGET, LanguageModel, linear, rms_norm, rope_table  # noqa: E402


@dataclass
class Outputs:
    """`taps`: inputs of layers, `[B, T, D]` each; `hidden`: after the final norm."""

    taps: list
    hidden: torch.Tensor


class FrozenTarget:
    def __init__(self, folder, dtype=torch.bfloat16):
        self.model = LanguageModel(TARGET)
        load_weights(self.model, folder / 'model.safetensors')
        self.model.to(dtype).requires_grad_(False)
        self.dtype = dtype
        self.cos, self.sin = rope_table(TARGET, TARGET.context, 'cpu')

    @property
    def table(self):
        """Embedding and output head, `[V, D]`."""
        return self.model.model.embed_tokens.weight

    def embed(self, ids):
        return F.embedding(ids, self.table)

    def turns(self, length):
        return self.cos[:length], self.sin[:length]

    @torch.no_grad()
    def __call__(self, ids, taps):
        last, states = self.model(ids, *self.turns(ids.shape[1]), exits=taps, dtype=self.dtype)
        hidden = rms_norm(last, self.model.model.norm.weight, TARGET.epsilon)
        return Outputs([states[layer] for layer in taps], hidden)

    def logits(self, hidden):
        return linear(hidden, self.table)


def begin_from_target(heads, target):
    """Starts heads from the target's own last layer and final norm, which halves the time until they are of use."""
    layer, norm = target.model.model.layers[-1], target.model.model.norm.weight.float()
    with torch.no_grad():
        mtp = heads['mtp']
        for name, parameter in mtp.self_attn.named_parameters():
            parameter.copy_(layer.self_attn.get_parameter(name).float())
        for name in ('input_layernorm', 'post_attention_layernorm'):
            getattr(mtp, name).weight.copy_(getattr(layer, name).weight.float())
        keep = layer.mlp.down_proj.weight.float().norm(dim=0).topk(mtp.shape.intermediate).indices
        mtp.mlp.gate_proj.weight.copy_(layer.mlp.gate_proj.weight.float()[keep])
        mtp.mlp.up_proj.weight.copy_(layer.mlp.up_proj.weight.float()[keep])
        mtp.mlp.down_proj.weight.copy_(layer.mlp.down_proj.weight.float()[:, keep])
        # Residual streams are some fifty times as large as what a fresh layer adds.
        heads['eagle'].fc.weight.mul_(0.05)
        mtp.shared_head.norm.weight.copy_(norm)
        heads['eagle'].norm.weight.copy_(norm)
        # Blocks begin as masks, which say nothing: a small norm keeps their first guesses humble.
        heads['block'].norm.weight.copy_(0.1 * norm)
