"""Trains Medusa heads, an MTP module, an EAGLE-3 head and a block drafter side by side on one frozen pass of the target.

    python heads/train.py --data DATA --continuations CONTINUATIONS.npy --target ../../packages/tiny/models/stories --out OUT --minutes 60

The loss is the cross entropy against the target's own distribution, half of it moved to its most likely token, over the tokens that matter
in a batch. The schedule follows the clock.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from heads import BLOCK_SIZE, BLOCK_TAPS, MASK_TOKEN, MEDUSA_HEADS, TAPS, build_heads
from layers import SoftCrossEntropy, shift
from safetensors.torch import load_file, save_file
from target import FrozenTarget, begin_from_target

from data import Streams  # layers.py makes the folder above importable
from optimizer import Muon

RECIPE = {
    'seed': 20,
    'corpus': {'tinystories': 0.5, 'children': 0.3, 'storybooks_ccby': 0.08, 'stories': 0.06, 'simple_150mb': 0.06},
    'corpusEvery': 5,
    'rows': 8,
    'corpusLength': 496,
    'vocabulary': 1024,
    'chance': 128,
    'sharpen': 0.5,
    'stepWeight': 0.8,
    'blockWeight': 0.8,
    'anchorsEvery': 8,
    'matrixRate': 1.2e-2,
    'vectorRate': 1.5e-2,
    'warmup': 0.015,
}


class Batches:
    """Rows of the target's own text, and every `corpusEvery`-th time of the corpus; `(ids [B, T], lengths [B])`."""

    def __init__(self, data, continuations, generator):
        self.continuations = continuations
        self.streams = Streams(data, list(RECIPE['corpus']), 'cpu', RECIPE['seed'])
        self.generator, self.count = generator, 0
        self.order = torch.zeros(0, dtype=torch.long)

    def next(self):
        self.count += 1
        if self.count % RECIPE['corpusEvery'] == 0:
            ids, _ = self.streams.batch(RECIPE['rows'] // 2, RECIPE['corpusLength'], RECIPE['corpus'])
            return ids, torch.full((len(ids),), ids.shape[1])
        if len(self.order) < RECIPE['rows']:
            # What has been written meanwhile takes part from now on.
            self.rows = torch.from_numpy(np.load(self.continuations)).long()
            self.order = torch.randperm(len(self.rows), generator=self.generator)
        chosen, self.order = self.order[: RECIPE['rows']], self.order[RECIPE['rows'] :]
        rows = self.rows[chosen]
        absent = (rows < 0).sum(1)
        columns = torch.arange(rows.shape[1])[None] + absent[:, None]
        ids = rows.gather(1, columns.clamp(max=rows.shape[1] - 1))
        return ids, rows.shape[1] - absent


class Teacher:
    """The target's distributions over the tokens of a batch that matter: those with most mass, and some by chance."""

    def __init__(self, target, hidden, generator):
        p = torch.softmax(target.logits(hidden).float(), -1)
        mass = p.sum((0, 1))
        mass[torch.randperm(len(mass), generator=generator)[: RECIPE['chance']]] += 1e6
        chosen = mass.topk(RECIPE['vocabulary']).indices
        p = p[..., chosen]
        best = p.argmax(-1, keepdim=True)
        p = p / p.sum(-1, keepdim=True).clamp(min=1e-9) * (1 - RECIPE['sharpen'])
        self.p = p.scatter_add_(-1, best, torch.full_like(p[..., :1], RECIPE['sharpen']))
        self.table = target.table[chosen]

    def loss(self, hidden, at, used):
        """Mean over rows in use; `at`, `used`: index into positions and mask, shaped as the rows of `hidden`."""
        rows = self.p[at]
        weight = used.float() / used.sum().clamp(min=1)
        return SoftCrossEntropy.apply(hidden.flatten(0, -2), self.table, rows.flatten(0, -2), weight.flatten())


def losses_of(heads, target, batch, generator):
    """`name -> [loss of each depth]` over one batch."""
    ids, lengths = batch
    out = target(ids, TAPS)
    teacher = Teacher(target, out.hidden, generator)
    batch_size, length = ids.shape
    row = torch.arange(batch_size)[:, None]
    column = torch.arange(length)[None]
    there = column < lengths[:, None]
    losses = {'medusa': [], 'mtp': [], 'eagle': [], 'block': []}
    for head in range(MEDUSA_HEADS):
        ahead = head + 1
        hidden = heads['medusa'](out.hidden[:, :-ahead], head)
        losses['medusa'].append(teacher.loss(hidden, (row, column[:, ahead:]), there[:, ahead:]))
    cos, sin = target.turns(length - 1)
    following = target.embed(ids[:, 1:])
    for name in ('mtp', 'eagle'):
        head, steps = heads[name], []
        features = head.begin(out)[:, :-1]
        for step in range(head.steps):
            hidden, recycled = head.step(features, following, steps, cos, sin)
            used = there[:, 1:] & (column[:, :-1] >= step)
            losses[name].append(teacher.loss(hidden, (row, column[:, 1:]), used))
            features = shift(recycled, 1, 1)
    anchors = 1 + torch.randperm(length - BLOCK_SIZE - 1, generator=generator)[: length // RECIPE['anchorsEvery']]
    embedded = target.embed(torch.tensor(MASK_TOKEN)).expand(batch_size, len(anchors), BLOCK_SIZE, -1).clone()
    embedded[:, :, 0] = target.embed(ids[:, anchors])
    taps = torch.cat([out.taps[TAPS.index(layer)] for layer in BLOCK_TAPS], -1)
    hidden = heads['block'](taps, embedded, anchors, *target.turns(length))
    for draft in range(1, BLOCK_SIZE):
        at = anchors + draft - 1
        losses['block'].append(teacher.loss(hidden[:, :, draft], (row, at[None]), there[:, at]))
    return losses


def weighted(losses):
    decay = {'block': RECIPE['blockWeight']}
    return {
        name: sum(loss * decay.get(name, RECIPE['stepWeight']) ** depth for depth, loss in enumerate(parts))
        for name, parts in losses.items()
    }


class HeadOptimizer:
    """Muon for matrices, AdamW for vectors; gradients are clipped for each head."""

    def __init__(self, heads):
        self.heads = heads
        parameters = list(heads.parameters())
        self.muon = Muon([p for p in parameters if p.ndim == 2])
        self.adam = torch.optim.AdamW([p for p in parameters if p.ndim == 1], betas=(0.9, 0.95), weight_decay=0.0)

    def step(self, scale):
        for head in self.heads.values():
            torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        self.adam.param_groups[0]['lr'] = RECIPE['vectorRate'] * scale
        self.adam.step()
        self.muon.step(RECIPE['matrixRate'] * scale)
        for parameter in self.heads.parameters():
            parameter.grad = None


def save_heads(heads, path):
    save_file({name: tensor.detach().clone() for name, tensor in heads.state_dict().items()}, str(path))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--data', type=Path, required=True)
    parser.add_argument('--continuations', type=Path, required=True)
    parser.add_argument('--target', type=Path, required=True)
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--minutes', type=float, default=60)
    parser.add_argument('--steps', type=int, default=10**9, help='end earlier')
    parser.add_argument('--resume', type=Path, help='heads of an earlier run')
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(RECIPE['seed'])
    generator = torch.Generator().manual_seed(RECIPE['seed'])
    target, heads = FrozenTarget(options.target), build_heads()
    begin_from_target(heads, target)
    if options.resume:
        heads.load_state_dict(load_file(str(options.resume)))
    batches = Batches(options.data, options.continuations, generator)
    optimizer = HeadOptimizer(heads)
    records, tokens, begin, saved = [{'recipe': RECIPE}], 0, time.time(), time.time()
    for step in range(options.steps):
        share = (time.time() - begin) / (60 * options.minutes)
        if share >= 1:
            break
        batch = batches.next()
        losses = losses_of(heads, target, batch, generator)
        sum(weighted(losses).values()).backward()
        optimizer.step(min(1, share / RECIPE['warmup'] + 0.02, (1 - share) / (1 - RECIPE['warmup']) + 0.01))
        tokens += int(batch[1].sum())
        if step % 5 == 0:
            seconds = time.time() - begin
            shown = {name: [round(float(loss.detach()), 3) for loss in parts] for name, parts in losses.items()}
            records.append({'step': step, 'tokens': tokens, 'seconds': round(seconds), 'losses': shown})
            print(f'{step} {tokens} {tokens / seconds:.0f}/s {shown}', flush=True)
        if time.time() - saved > 120:
            saved = time.time()
            save_heads(heads, options.out / 'heads.safetensors')
            (options.out / 'heads.json').write_text(json.dumps(records))
    save_heads(heads, options.out / 'heads.safetensors')
    (options.out / 'heads.json').write_text(json.dumps(records))


if __name__ == '__main__':
    main()
