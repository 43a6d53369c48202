"""Makes a checkpoint folder of trained weights, as `transformers` reads it.

    python checkpoint.py --weights stories.safetensors --shape target --tokenizer DIR --out packages/tiny/models/stories
    python checkpoint.py --weights stories-draft.safetensors --shape draft --out packages/tiny/models/stories-draft

Without `--tokenizer` the folder has none: the draft model reads its target's.
"""

import argparse
import json
import shutil
from pathlib import Path

from model import DRAFT, TARGET, huggingface_config

GENERATION = {
    'bos_token_id': 0,
    'do_sample': True,
    'eos_token_id': 0,
    'pad_token_id': 0,
    'temperature': 0.8,
    'top_p': 0.95,
}


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2) + '\n')


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--weights', type=Path, required=True)
    parser.add_argument('--shape', choices=('target', 'draft'), required=True)
    parser.add_argument('--tokenizer', type=Path)
    parser.add_argument('--out', type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(options.weights, options.out / 'model.safetensors')
    write_json(options.out / 'config.json', huggingface_config(TARGET if options.shape == 'target' else DRAFT))
    write_json(options.out / 'generation_config.json', GENERATION)
    if options.tokenizer:
        for name in ('tokenizer.json', 'tokenizer_config.json'):
            shutil.copyfile(options.tokenizer / name, options.out / name)


if __name__ == '__main__':
    main()
