/** A GGUF file's vocabulary as the tokenizer.json and tokenizer_config.json that it was made from. */
import { GgufError } from '../errors.ts';
import type { Metadata } from './metadata.ts';
import { preTokenizations } from './pre-tokenizers.ts';

/** `tokenizer.ggml.token_type`. */
const kinds = { unknown: 2, control: 3, userDefined: 4 } as const;

type Json = Record<string, unknown>;

interface Vocabulary {
  readonly tokens: readonly string[];
  /** Kind of each token; all normal where the file does not say. */
  readonly kinds: readonly number[];
}

function vocabularyOf(metadata: Metadata): Vocabulary {
  const tokens = metadata.need('tokenizer.ggml.tokens', (key) => metadata.strings(key));
  const given = metadata.numbers('tokenizer.ggml.token_type') ?? tokens.map(() => 1);
  sameLength(metadata, 'token_type', given, tokens);
  return { tokens, kinds: given };
}

function sameLength(metadata: Metadata, name: string, list: readonly unknown[], tokens: readonly unknown[]): void {
  if (list.length === tokens.length) return;
  throw new GgufError(
    `${metadata.where}: tokenizer.ggml.${name} has ${list.length} entries for ${tokens.length} tokens; the file is damaged.`,
  );
}

function addedTokens({ tokens, kinds: given }: Vocabulary): Json[] {
  return tokens.flatMap((content, id) => {
    const kind = given[id];
    const special = kind === kinds.control || kind === kinds.unknown;
    if ((!special && kind !== kinds.userDefined) || content === '') return [];
    return [{ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special }];
  });
}

const idsOf = (tokens: readonly string[]) => Object.fromEntries(tokens.map((token, id) => [token, id]));

/** Text of a token that has a role, such as `bos`; undefined where the file names none. */
function roleText(metadata: Metadata, { tokens }: Vocabulary, role: string): string | undefined {
  const key = `tokenizer.ggml.${role}_token_id`;
  const id = metadata.integer(key);
  if (id === undefined || id === 0xffff_ffff) return undefined;
  if (id >= tokens.length) {
    throw new GgufError(`${metadata.where}: ${key} is ${id}, but there are only ${tokens.length} tokens.`);
  }
  return tokens[id];
}

/** Puts the beginning and the end token around a text, where the file wants them. */
function postProcessor(metadata: Metadata, vocabulary: Vocabulary, addsBos: boolean): Json | null {
  const wanted = {
    bos: metadata.boolean('tokenizer.ggml.add_bos_token') ?? addsBos,
    eos: metadata.boolean('tokenizer.ggml.add_eos_token') ?? false,
  };
  const texts = Object.entries(wanted).map(([role, adds]) => (adds ? roleText(metadata, vocabulary, role) : undefined));
  const [bos, eos] = texts.map((text) => (text === undefined ? [] : [{ SpecialToken: { id: text, type_id: 0 } }]));
  const used = texts.filter((text) => text !== undefined);
  if (used.length === 0) return null;
  const sequence = (id: string) => ({ Sequence: { id, type_id: 0 } });
  return {
    type: 'TemplateProcessing',
    single: [...bos!, sequence('A'), ...eos!],
    pair: [...bos!, sequence('A'), sequence('B'), ...eos!],
    special_tokens: Object.fromEntries(
      used.map((text) => [text, { id: text, ids: [vocabulary.tokens.indexOf(text)], tokens: [text] }]),
    ),
  };
}

function mergePairs(metadata: Metadata): string[][] {
  const merges = metadata.need('tokenizer.ggml.merges', (key) => metadata.strings(key));
  return merges.map((merge, index) => {
    // A space can be the first letter of a token only, never of a byte-level one; the second begins behind the first space.
    const space = merge.indexOf(' ', 1);
    if (space < 0) {
      throw new GgufError(`${metadata.where}: merge ${index} is no pair of tokens; the file is damaged.`);
    }
    return [merge.slice(0, space), merge.slice(space + 1)];
  });
}

function byteLevel(metadata: Metadata, vocabulary: Vocabulary): Json {
  const name = metadata.string('tokenizer.ggml.pre') ?? 'default';
  const pre = Object.hasOwn(preTokenizations, name) ? preTokenizations[name]! : undefined;
  if (!pre) {
    throw new GgufError(
      `${metadata.where}: tokenizer.ggml.pre is ${JSON.stringify(name.slice(0, 60))}; supported are ${Object.keys(preTokenizations).join(', ')}. Put tokenizer.json beside the weights as safetensors instead.`,
    );
  }
  const prefixed = metadata.boolean('tokenizer.ggml.add_space_prefix') ?? false;
  const bytes = { type: 'ByteLevel', add_prefix_space: prefixed, trim_offsets: true, use_regex: !pre.pieces };
  const split = { type: 'Split', pattern: { Regex: pre.pieces }, behavior: 'Isolated', invert: false };
  const steps = [
    ...(pre.singleDigits ? [{ type: 'Digits', individual_digits: true }] : []),
    ...(pre.pieces ? [split] : []),
    bytes,
  ];
  return {
    version: '1.0',
    added_tokens: addedTokens(vocabulary),
    normalizer: pre.normalizer ? { type: pre.normalizer } : null,
    pre_tokenizer: { type: 'Sequence', pretokenizers: steps },
    post_processor: postProcessor(metadata, vocabulary, pre.addsBos ?? false),
    decoder: { type: 'ByteLevel' },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: pre.ignoreMerges ?? false,
      vocab: idsOf(vocabulary.tokens),
      merges: mergePairs(metadata),
    },
  };
}

/** Merges that amount to scores: every way to make a token of two others, best scores first. */
function mergesOfScores(tokens: readonly string[], scores: readonly number[]): string[][] {
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const merges: { pair: [string, string]; score: number }[] = [];
  for (const [id, token] of tokens.entries()) {
    const ways: [string, string][] = [];
    const letters = [...token];
    for (let cut = 1, at = letters[0]?.length ?? 0; cut < letters.length; at += letters[cut++]!.length) {
      const [left, right] = [token.slice(0, at), token.slice(at)];
      if (ids.has(left) && ids.has(right)) ways.push([left, right]);
    }
    ways.sort((a, b) => ids.get(a[0])! - ids.get(b[0])! || ids.get(a[1])! - ids.get(b[1])!);
    for (const pair of ways) merges.push({ pair, score: scores[id]! });
  }
  return merges.sort((a, b) => b.score - a.score).map(({ pair }) => pair);
}

function sentencePiece(metadata: Metadata, vocabulary: Vocabulary): Json {
  const { tokens } = vocabulary;
  const scores = metadata.need('tokenizer.ggml.scores', (key) => metadata.numbers(key));
  sameLength(metadata, 'scores', scores, tokens);
  const prefixed = metadata.boolean('tokenizer.ggml.add_space_prefix') ?? true;
  const space = { type: 'Replace', pattern: { String: ' ' }, content: '▁' };
  return {
    version: '1.0',
    added_tokens: addedTokens(vocabulary),
    normalizer: { type: 'Sequence', normalizers: [...(prefixed ? [{ type: 'Prepend', prepend: '▁' }] : []), space] },
    pre_tokenizer: null,
    post_processor: postProcessor(metadata, vocabulary, true),
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        ...(prefixed ? [{ type: 'Strip', content: ' ', start: 1, stop: 0 }] : []),
      ],
    },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: roleText(metadata, vocabulary, 'unknown') ?? null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: true,
      byte_fallback: true,
      ignore_merges: false,
      vocab: idsOf(tokens),
      merges: mergesOfScores(tokens, scores),
    },
  };
}

/** Kinds of vocabularies, by `tokenizer.ggml.model`. */
const makers: Readonly<Record<string, (metadata: Metadata, vocabulary: Vocabulary) => Json>> = {
  gpt2: byteLevel,
  llama: sentencePiece,
};

/** Whether the file has a vocabulary. */
export function hasTokenizer(metadata: Metadata): boolean {
  return metadata.has('tokenizer.ggml.model') && metadata.string('tokenizer.ggml.model') !== 'none';
}

/**
 * The tokenizer.json that the file's vocabulary amounts to.
 *
 * @throws GgufError for a kind of vocabulary that is not supported, and for one that is incomplete or contradicts itself.
 */
export function tokenizerOf(metadata: Metadata): Json {
  const model = metadata.need('tokenizer.ggml.model', (key) => metadata.string(key));
  const make = Object.hasOwn(makers, model) ? makers[model] : undefined;
  if (!make) {
    throw new GgufError(
      `${metadata.where}: tokenizer.ggml.model is ${JSON.stringify(model.slice(0, 60))}; supported are gpt2 (byte-level pairs) and llama (SentencePiece).`,
    );
  }
  return make(metadata, vocabularyOf(metadata));
}

/** The tokenizer_config.json: special tokens by role, and chat templates. */
export function tokenizerConfigOf(metadata: Metadata): Json {
  const vocabulary = vocabularyOf(metadata);
  const roles = { bos: 'bos', eos: 'eos', unk: 'unknown', pad: 'padding' } as const;
  const texts = Object.entries(roles).map(([role, name]) => [`${role}_token`, roleText(metadata, vocabulary, name)]);
  const templates = new Map<string, string>();
  const prefix = 'tokenizer.chat_template.';
  for (const key of metadata.keys())
    if (key.startsWith(prefix)) templates.set(key.slice(prefix.length), metadata.string(key)!);
  const plain = metadata.string('tokenizer.chat_template');
  if (plain !== undefined) templates.set('default', plain);
  const list = [...templates].map(([name, template]) => ({ name, template }));
  return {
    ...Object.fromEntries(texts.filter(([, text]) => text !== undefined)),
    ...(list.length > 0 ? { chat_template: list } : {}),
    clean_up_tokenization_spaces: false,
  };
}
