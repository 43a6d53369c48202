"""The byte-level BPE tokenizer of the story models: 4,096 tokens, `<|endoftext|>` (id 0) opens and closes a text."""

import json

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

END = '<|endoftext|>'
VOCABULARY = 4096


def train_tokenizer(documents, out, context=2048):
    """Trains on an iterable of texts; writes `tokenizer.json` and `tokenizer_config.json` to the folder `out`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer)
    if tokenizer.get_vocab_size() != VOCABULARY:
        raise ValueError(f'expected {VOCABULARY} tokens, got {tokenizer.get_vocab_size()}: train on more text')
    opening = processors.TemplateProcessing(single=f'{END} $A', pair=f'{END} $A $B', special_tokens=[(END, 0)])
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), opening])
    tokenizer.save(str(out / 'tokenizer.json'), pretty=False)
    config = {
        'add_prefix_space': False,
        'bos_token': END,
        'clean_up_tokenization_spaces': False,
        'eos_token': END,
        'model_max_length': context,
        'pad_token': END,
        'tokenizer_class': 'PreTrainedTokenizerFast',
    }
    (out / 'tokenizer_config.json').write_text(json.dumps(config, indent=2) + '\n')


def load_tokenizer(folder):
    return Tokenizer.from_file(str(folder / 'tokenizer.json'))
