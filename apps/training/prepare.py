"""Text to tokens: splits off held-out documents, trains the tokenizer, writes one token stream per source.

    python prepare.py --corpus DIR --out DIR [--simple-mb 120]

Reads `<source>.txt.xz` (ASCII documents separated by a line `<|endoftext|>`), writes to `--out`:

- `tokenizer.json`, `tokenizer_config.json`: byte-level BPE of 4,096 tokens;
- `<source>.u16.xz`: training tokens as little-endian uint16, every document preceded by `<|endoftext|>`;
- `heldout.jsonl`: the held-out documents, one `{"source", "text"}` a line;
- `meta.json`: counts.

Held-out documents are chosen first, by a hash of their text, so that no later step (tokenizer, selection, augmentation)
sees them. Training documents which share a fifth of their 12-word shingles with the held-out text, or hold a fifth of a
held-out document, are dropped.
"""

import argparse
import concurrent.futures
import hashlib
import json
import lzma
import math
import random
import re
from collections import Counter
from pathlib import Path

import numpy as np

from names import swap_names
from tokenizer import END, load_tokenizer, train_tokenizer

# source -> permille of its documents that is held out; small sources give more, so that their figure means something
SOURCES = {'tinystories': 25, 'storybooks_ccby': 25, 'stories': 25, 'children': 10, 'simple_150mb': 10}
SHINGLE = 12


def read_documents(path):
    text = lzma.open(path, 'rt', encoding='ascii').read()
    documents = (part.strip() for part in text.split('<|endoftext|>\n'))
    return list(dict.fromkeys(part for part in documents if part))


def is_held_out(text, permille):
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[:4], 'little') % 1000 < permille


def shingles(text):
    words = re.findall(r'[a-z]+', text.lower())
    return {hash(tuple(words[i : i + SHINGLE])) for i in range(max(0, len(words) - SHINGLE + 1))}


def drop_leaks(documents, held_out):
    """The documents that neither take a fifth of their shingles from `held_out`, a list of shingle sets, nor hold a
    fifth of any member of it."""
    owner = {shingle: index for index, members in enumerate(held_out) for shingle in members}
    kept = []
    for text in documents:
        own = shingles(text)
        common = Counter(owner[shingle] for shingle in own if shingle in owner)
        copied = sum(common.values()) >= 0.2 * len(own) if common else False
        if not copied and all(count < 0.2 * len(held_out[index]) for index, count in common.items()):
            kept.append(text)
    return kept


def plainest(documents, reference, mega_bytes):
    """The documents whose words are commonest in `reference` (mean log unigram probability), up to `mega_bytes`."""
    counts = Counter(word for text in reference for word in re.findall(r'[a-z]+', text.lower()))
    total = sum(counts.values())
    floor = math.log(0.5 / total)
    logs = {word: math.log(count / total) for word, count in counts.items()}

    def score(text):
        words = re.findall(r'[a-z]+', text.lower())
        return sum(logs.get(word, floor) for word in words) / max(1, len(words))

    kept, size = [], 0
    for text in sorted(documents, key=score, reverse=True):
        size += len(text)
        if size > mega_bytes * 1e6:
            break
        kept.append(text)
    return kept


def write_tokens(name, documents, tokenizer, out):
    end = tokenizer.token_to_id(END)
    stream = []
    for start in range(0, len(documents), 256):
        for encoding in tokenizer.encode_batch(documents[start : start + 256], add_special_tokens=False):
            stream.append(end)
            stream.extend(encoding.ids)
    stream.append(end)
    tokens = np.asarray(stream, dtype='<u2')
    (out / f'{name}.u16.xz').write_bytes(lzma.compress(tokens.tobytes(), preset=9))
    return len(tokens)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--corpus', type=Path, required=True)
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--simple-mb', type=float, default=120, help='MB of simple_150mb to keep, the plainest first')
    parser.add_argument('--name-copies', type=int, default=4, help='copies of tinystories with other names')
    parser.add_argument('--seed', type=int, default=1)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rng = random.Random(options.seed)

    train, held_out = {}, {}
    for source, permille in SOURCES.items():
        documents = read_documents(options.corpus / f'{source}.txt.xz')
        held_out[source] = [text for text in documents if is_held_out(text, permille)]
        train[source] = [text for text in documents if not is_held_out(text, permille)]
    with open(options.out / 'heldout.jsonl', 'w') as file:
        for source, documents in held_out.items():
            for text in documents:
                file.write(json.dumps({'source': source, 'text': text}) + '\n')

    leaks = [shingles(text) for documents in held_out.values() for text in documents]
    meta = {}
    for source in SOURCES:
        before = len(train[source])
        train[source] = drop_leaks(train[source], leaks)
        meta[source] = {'heldOut': len(held_out[source]), 'droppedAsLeak': before - len(train[source])}
    small = [text for source in ('tinystories', 'storybooks_ccby', 'stories') for text in train[source]]
    train['simple_150mb'] = plainest(train['simple_150mb'], small + train['children'], options.simple_mb)

    sample = small * 4 + rng.sample(train['children'], len(train['children']) // 2)
    sample += rng.sample(train['simple_150mb'], len(train['simple_150mb']) // 20)
    train_tokenizer(sample, options.out)
    tokenizer = load_tokenizer(options.out)

    originals = train['tinystories']
    copies = [swap_names(text, rng) for _ in range(options.name_copies) for text in originals]
    for source in SOURCES:
        meta[source]['documents'] = len(train[source])
        meta[source]['bytes'] = sum(map(len, train[source]))
    train['tinystories'] = originals + copies
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        jobs = {}
        for source, documents in train.items():
            rng.shuffle(documents)
            jobs[source] = pool.submit(write_tokens, source, documents, tokenizer, options.out)
        for source, job in jobs.items():
            meta[source]['tokens'] = job.result()
    meta['tinystories']['copies'] = 1 + options.name_copies
    (options.out / 'meta.json').write_text(json.dumps(meta, indent=2) + '\n')
    print(json.dumps(meta, indent=2))


if __name__ == '__main__':
    main()
