/**
 * How a text is cut before pairs are merged, by `tokenizer.ggml.pre`: the settings of the tokenizer.json files that the names stand for.
 */
export interface PreTokenization {
  /** Pieces, as a regular expression; none: those of GPT-2. */
  readonly pieces?: string;
  /** Whether every digit is a piece of its own before that. */
  readonly singleDigits?: boolean;
  /** Whether a piece that is a token is not merged anew. */
  readonly ignoreMerges?: boolean;
  readonly normalizer?: 'NFC';
  /** Whether a text begins with the beginning token where the file does not say. */
  readonly addsBos?: boolean;
}

const contractions = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])";
const rest = (newlines: string) => ` ?[^\\s\\p{L}\\p{N}]+${newlines}|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`;
const letters = (digits: string) => `${contractions}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${digits}|${rest('[\\r\\n]*')}`;
const upper = '\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}';
const lower = '\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}';

const llama3: PreTokenization = { pieces: letters('\\p{N}{1,3}'), ignoreMerges: true, addsBos: true };
const qwen2: PreTokenization = { pieces: letters('\\p{N}'), normalizer: 'NFC' };

/** By name. */
export const preTokenizations: Readonly<Record<string, PreTokenization>> = {
  'gpt-2': {},
  default: {},
  llama3,
  'llama-v3': llama3,
  'llama-bpe': llama3,
  qwen2,
  'deepseek-r1-qwen': qwen2,
  smollm: { singleDigits: true },
  tekken: {
    pieces: `[^\\r\\n\\p{L}\\p{N}]?[${upper}]*[${lower}]+|[^\\r\\n\\p{L}\\p{N}]?[${upper}]+[${lower}]*|\\p{N}|${rest('[\\r\\n/]*')}`,
    ignoreMerges: true,
    addsBos: true,
  },
};
