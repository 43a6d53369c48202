"""Weights as blocks of 32 with one float16 scale: w ~ d c, with codes c in -8..7 (q4) or -127..127 (q8).

`closest_blocks` is the rounding that `@forerun/checkpoints` applies when it loads as q8 or q4: from each of 17 starting
scales one least-squares step d = (c . w) / (c . c), and of all the smallest squared error. `round_to_blocks` is a cheaper
relative for training: one start, two steps.
"""

import torch

BLOCK = 32
RANGES = {4: (-8, 7), 8: (-127, 127)}
# the code onto which a starting scale maps the value of largest magnitude
ANCHORS = {
    4: [-8.0, *(-7 - (i + (i >= 8)) / 8 for i in range(16))],
    8: [127 - i / 2 for i in range(17)],
}


def extreme_of(blocks, bits):
    extreme = blocks.gather(1, blocks.abs().argmax(1, keepdim=True))
    return extreme if bits == 4 else extreme.abs()


def closest_blocks(weight, bits):
    blocks = weight.reshape(-1, BLOCK)
    extreme = extreme_of(blocks, bits)
    best = torch.zeros_like(blocks)
    least = torch.full_like(extreme, torch.inf)
    starts = [(extreme / ANCHORS[bits][0], False), *((extreme / anchor, True) for anchor in ANCHORS[bits])]
    for scale, refined in starts:
        if refined:
            codes = encode(blocks, scale, *RANGES[bits])
            scale = (codes * blocks).sum(1, keepdim=True) / codes.square().sum(1, keepdim=True).clamp_min(1)
        scale = scale.half().float()
        rounded = encode(blocks, scale, *RANGES[bits]) * scale
        error = (rounded - blocks).square().sum(1, keepdim=True)
        better = error < least
        best = torch.where(better, rounded, best)
        least = torch.where(better, error, least)
    return best.reshape(weight.shape)


def round_to_blocks(weight, bits, rounds=2):
    """`weight` (any shape whose last axis is a multiple of 32, float32) after a trip through `bits`-bit blocks."""
    blocks = weight.reshape(-1, BLOCK)
    lowest, highest = RANGES[bits]
    scale = extreme_of(blocks, bits) / ANCHORS[bits][0]
    codes = torch.zeros_like(blocks)
    for _ in range(rounds):
        codes = encode(blocks, scale, lowest, highest)
        scale = (codes * blocks).sum(1, keepdim=True) / codes.square().sum(1, keepdim=True).clamp_min(1)
    scale = scale.half().float()
    codes = encode(blocks, scale, lowest, highest)
    return (codes * scale).reshape(weight.shape)


def encode(blocks, scale, lowest, highest):
    inverse = torch.where(scale == 0, 0.0, 1 / torch.where(scale == 0, 1.0, scale))
    return (blocks * inverse).round().clamp(lowest, highest)


class FakeQuantizer:
    """Straight-through rounding: gradients are taken at the rounded weights and applied to the float32 masters.

    with FakeQuantizer(matrices): loss = ...; loss.backward()
    """

    def __init__(self, parameters, bits=4):
        self.parameters = list(parameters)
        self.bits = bits

    def __enter__(self):
        self.masters = torch.cat([parameter.data.reshape(-1) for parameter in self.parameters])
        self.write(round_to_blocks(self.masters, self.bits))
        return self

    def __exit__(self, *failure):
        self.write(self.masters)

    def write(self, flat):
        pieces = flat.split([parameter.numel() for parameter in self.parameters])
        views = [piece.view_as(parameter) for piece, parameter in zip(pieces, self.parameters)]
        torch._foreach_copy_([parameter.data for parameter in self.parameters], views)
