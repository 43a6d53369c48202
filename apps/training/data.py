"""Token streams resident on the device, sampled by share, and held-out batches."""

import json
import lzma
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

END_ID = 0


class Streams:
    """All sources as one int16 tensor. `batch` draws sequences of `length + 1` tokens at random places.

    Half of the sequences open at a document's start, as a reader's prompt does.
    """

    def __init__(self, folder, sources, device, seed):
        def read(source):
            return np.frombuffer(lzma.decompress((folder / f'{source}.u16.xz').read_bytes()), dtype='<u2')

        with ThreadPoolExecutor() as pool:
            arrays = list(pool.map(read, sources))
        self.sources, self.device = sources, device
        joined = np.concatenate(arrays).astype(np.int16)
        self.tokens = torch.from_numpy(joined).to(device)
        sizes = torch.tensor([len(array) for array in arrays])
        self.sizes = sizes.to(device)
        self.bases = (sizes.cumsum(0) - sizes).to(device)
        starts = [torch.from_numpy(np.flatnonzero(array[:-1] == END_ID)) for array in arrays]
        counts = torch.tensor([len(part) for part in starts])
        self.start_counts = counts.to(device)
        self.start_bases = (counts.cumsum(0) - counts).to(device)
        self.starts = torch.cat(starts).to(device)
        self.generator = torch.Generator(device).manual_seed(seed)

    def batch(self, count, length, shares, noise=0.0):
        """`(inputs, targets)`, both `[count, length]` int64. `shares` maps source to its share of sequences.

        In half of the sequences a share `noise` of the input tokens gives way to tokens from elsewhere in the batch,
        which hinders learning small sources by heart (Xie et al. 2017, "Data noising as smoothing").
        """
        weights = torch.tensor([shares.get(source, 0.0) for source in self.sources], device=self.device)
        source = torch.multinomial(weights, count, replacement=True, generator=self.generator)
        draw = torch.rand(3, count, device=self.device, generator=self.generator, dtype=torch.float64)
        last = self.sizes[source] - length - 1
        anywhere = (draw[0] * last).long()
        opening = self.starts[self.start_bases[source] + (draw[1] * self.start_counts[source]).long()]
        offset = torch.where(draw[2] < 0.5, torch.minimum(opening, last), anywhere) + self.bases[source]
        rows = self.tokens[offset[:, None] + torch.arange(length + 1, device=self.device)].long()
        inputs, targets = rows[:, :-1].contiguous(), rows[:, 1:].contiguous()
        if noise:
            draw = torch.rand(count, length, device=self.device, generator=self.generator)
            draw[torch.rand(count, device=self.device, generator=self.generator) < 0.5] = 1.0
            inputs = torch.where((draw < noise) & (inputs != END_ID), inputs.flatten().roll(7919).view_as(inputs), inputs)
        return inputs, targets


def held_out_batches(folder, tokenizer, length=1024, rows=32, limits=None):
    """source -> list of `(inputs, targets)`, each `[up to rows, up to length]`; documents are cut into windows of `length`,
    windows of like size share a batch, padding targets are -100."""
    documents = [json.loads(line) for line in open(folder / 'heldout.jsonl')]
    windows = {}
    for document in documents:
        ids = [END_ID, *tokenizer.encode(document['text'], add_special_tokens=False).ids, END_ID]
        for start in range(0, len(ids) - 1, length):
            windows.setdefault(document['source'], []).append(ids[start : start + length + 1])
    batches = {}
    for source, parts in windows.items():
        parts = parts[: (limits or {}).get(source, len(parts))]
        parts.sort(key=len)
        for begin in range(0, len(parts), rows):
            chunk = parts[begin : begin + rows]
            longest = max(map(len, chunk)) - 1
            inputs = torch.zeros(len(chunk), longest, dtype=torch.long)
            targets = torch.full((len(chunk), longest), -100)
            for row, ids in enumerate(chunk):
                inputs[row, : len(ids) - 1] = torch.tensor(ids[:-1])
                targets[row, : len(ids) - 1] = torch.tensor(ids[1:])
            batches.setdefault(source, []).append((inputs, targets))
    return batches
