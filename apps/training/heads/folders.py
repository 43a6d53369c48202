"""Makes checkpoint folders of trained heads in their published layouts, and the outputs that tests hold them to.

    python heads/folders.py --heads OUT/heads.safetensors --target ../../packages/tiny/models/stories --out ../../packages/tiny/models \
      --golden ../../packages/goldens/fixtures/stories/heads
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from heads import BLOCK_SIZE, BLOCK_TAPS, MASK_TOKEN, MEDUSA_HEADS, TAPS, BlockLayer, MidLayer, Mtp, build_heads
from layers import EPSILON, shift
from safetensors.torch import load_file, save_file
from target import FrozenTarget

from checkpoint import write_json
from model import TARGET

# Beginning of a story; goldens keep the logits of every eighth token.
STORY = [0, 710, 547, 259, 467, 12, 414, 300, 259, 429, 612, 740, 616, 14, 424]
COLUMNS = 8


def llama_config(shape, model_type, **more):
    """What the configurations of all heads with a layer have in common."""
    return {
        **more,
        'attention_bias': False,
        'bos_token_id': 0,
        'eos_token_id': 0,
        'head_dim': shape.head_dim,
        'hidden_act': 'silu',
        'hidden_size': shape.hidden,
        'intermediate_size': shape.intermediate,
        'max_position_embeddings': TARGET.context,
        'model_type': model_type,
        'num_attention_heads': shape.heads,
        'num_key_value_heads': shape.kv_heads,
        'rms_norm_eps': EPSILON,
        'rope_theta': TARGET.rope_theta,
        'tie_word_embeddings': False,
        'torch_dtype': 'bfloat16',
        'vocab_size': TARGET.vocabulary,
    }


def medusa_folder(state):
    """`medusa_lm_head.safetensors` of FasterDecoding, second version: no projection of its own."""
    names = {f'blocks.{i}.{part}': f'{i}.0.linear.{part}' for i in range(MEDUSA_HEADS) for part in ('weight', 'bias')}
    config = {
        'architectures': ['MedusaModel'],
        'base_model_name_or_path': 'stories',
        'hidden_size': TARGET.hidden,
        'medusa_num_heads': MEDUSA_HEADS,
        'medusa_num_layers': 1,
        'model_type': 'medusa',
        'torch_dtype': 'bfloat16',
        'version': '2',
        'vocab_size': TARGET.vocabulary,
    }
    return 'medusa_lm_head.safetensors', {names[name]: tensor for name, tensor in state.items()}, config


def mtp_folder(state):
    """The layer behind the last of a GLM-4.5 checkpoint, dense: `model.layers.8`."""
    config = llama_config(
        Mtp.shape,
        'glm4_moe',
        architectures=['Glm4MoeForCausalLM'],
        first_k_dense_replace=TARGET.layers + 1,
        num_hidden_layers=TARGET.layers,
        num_nextn_predict_layers=1,
        partial_rotary_factor=1.0,
        use_qk_norm=True,
    )
    return 'model.safetensors', {f'model.layers.{TARGET.layers}.{name}': tensor for name, tensor in state.items()}, config


def eagle_folder(state):
    """SafeAILab's and SpecForge's names. Their lists name layers whose outputs are features."""
    config = llama_config(
        MidLayer.shape,
        'llama',
        architectures=['LlamaForCausalLMEagle3'],
        draft_vocab_size=TARGET.vocabulary,
        eagle_config={
            'eagle_aux_hidden_state_layer_ids': [layer - 1 for layer in TAPS],
            'use_aux_hidden_state': True,
        },
        num_hidden_layers=1,
    )
    return 'model.safetensors', state, config


def block_folder(state):
    """z-lab's names; `target_layer_ids` are layers whose outputs are features."""
    config = llama_config(
        BlockLayer.shape,
        'qwen3',
        architectures=['DFlashDraftModel'],
        block_size=BLOCK_SIZE,
        dflash_config={'mask_token_id': MASK_TOKEN, 'target_layer_ids': [layer - 1 for layer in BLOCK_TAPS]},
        num_hidden_layers=2,
        num_target_layers=TARGET.layers,
    )
    return 'model.safetensors', state, config


FOLDERS = {'medusa': medusa_folder, 'mtp': mtp_folder, 'eagle': eagle_folder, 'block': block_folder}


@torch.no_grad()
def golden(heads, target):
    """`(tensors, facts)`: what each head guesses behind the story, going on from its own guesses; float32."""
    ids = torch.tensor([STORY])
    count, out = len(STORY), target(ids, TAPS)
    kept = lambda hidden: target.logits(hidden)[..., ::COLUMNS].contiguous()  # noqa: E731
    last = out.hidden[0, -1:]
    tensors = {'medusa.logits': torch.cat([kept(heads['medusa'](last, head)) for head in range(MEDUSA_HEADS)])}
    facts = {'ids': STORY, 'columns': COLUMNS, 'tokens': {}}
    for name in ('mtp', 'eagle'):
        head, tokens, logits = heads[name], [], []
        padding = torch.zeros(1, head.steps, TARGET.hidden)
        for depth in range(head.steps):
            following = target.embed(torch.tensor([[*STORY[1:], *tokens, *[0] * (head.steps - depth)]]))
            steps, features = [], torch.cat((head.begin(out)[:, :-1], padding), 1)
            for step in range(depth + 1):
                hidden, recycled = head.step(features, following, steps, *target.turns(features.shape[1]))
                features = shift(recycled, 1, 1)
            row = hidden[0, count - 2 + depth : count - 1 + depth]
            tokens.append(int(target.logits(row).argmax()))
            logits.append(kept(row))
        tensors[f'{name}.logits'], facts['tokens'][name] = torch.cat(logits), tokens
    embedded = target.embed(torch.tensor([[[STORY[-1], *[MASK_TOKEN] * (BLOCK_SIZE - 1)]]]))
    taps = torch.cat([out.taps[TAPS.index(layer)] for layer in BLOCK_TAPS], -1)
    hidden = heads['block'](taps, embedded, torch.tensor([count - 1]), *target.turns(count + BLOCK_SIZE))
    tensors['block.logits'] = kept(hidden[0, 0, 1:])
    return tensors, facts


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--heads', type=Path, required=True)
    parser.add_argument('--target', type=Path, required=True)
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--golden', type=Path, required=True)
    options = parser.parse_args()
    stored = {name: tensor.bfloat16() for name, tensor in load_file(str(options.heads)).items()}
    for name, make in FOLDERS.items():
        prefix = f'{name}.'
        state = {key.removeprefix(prefix): t.contiguous() for key, t in stored.items() if key.startswith(prefix)}
        file, tensors, config = make(state)
        folder = options.out / f'stories-{name}'
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, str(folder / file), metadata={'format': 'pt'})
        write_json(folder / 'config.json', config)
        print(f'{folder.name}: {sum(tensor.numel() for tensor in tensors.values())} weights')
    heads = build_heads()
    heads.load_state_dict({name: tensor.float() for name, tensor in stored.items()})
    tensors, facts = golden(heads, FrozenTarget(options.target, torch.float32))
    options.golden.mkdir(parents=True, exist_ok=True)
    save_file(tensors, str(options.golden / 'golden.safetensors'))
    write_json(options.golden / 'case.json', facts)


if __name__ == '__main__':
    sys.exit(main())
