import { TokenizerError } from '../errors.ts';

/** How the tokens of a vocabulary become bytes of text: one token by itself, so that text can be streamed. */
export interface TokenDecoding {
  /** Bytes that a token stands for; `first` is whether it is the first of its text. */
  bytes(token: { text: string; added: boolean }, first: boolean): Uint8Array;
  /** Spaces that are taken off the beginning of the whole text. */
  readonly leadingSpaces: number;
  /** For byte-level vocabularies: how each byte is written as a token of its own. */
  readonly byteLetters?: ReadonlyMap<string, number>;
}

interface DecoderJson {
  readonly type?: string;
  readonly decoders?: readonly DecoderJson[];
  readonly pattern?: { readonly String?: string; readonly Regex?: string };
  readonly content?: string;
  readonly start?: number;
  readonly stop?: number;
  readonly replacement?: string;
  readonly prepend_scheme?: string;
  readonly add_prefix_space?: boolean;
}

type TextStep = (text: string, first: boolean) => string;

const encoder = new TextEncoder();
const byteToken = /^<0x([0-9a-fA-F]{2})>$/;

/**
 * Reads the `decoder` of a tokenizer.json: byte-level, or the steps of SentencePiece-like vocabularies (replace, byte fallback,
 * metaspace, fuse, strip).
 *
 * @throws TokenizerError for a decoder that needs more than one token at a time.
 */
export function tokenDecoding(decoder: unknown): TokenDecoding {
  const steps = flattened(decoder as DecoderJson | null);
  if (steps.length === 0) return plainDecoding;
  if (steps.some(({ type }) => type === 'ByteLevel')) {
    const others = steps.filter(({ type }) => type !== 'ByteLevel' && type !== 'Fuse');
    if (others.length > 0) throw unsupported(others[0]!.type);
    return byteLevelDecoding;
  }
  return sentencePieceDecoding(steps);
}

function sentencePieceDecoding(steps: readonly DecoderJson[]): TokenDecoding {
  const textSteps: TextStep[] = [];
  let fused = false;
  let bytesFallBack = false;
  let leadingSpaces = 0;
  for (const step of steps) {
    if (step.type === 'Fuse') fused = true;
    else if (step.type === 'ByteFallback') bytesFallBack = true;
    else if (step.type === 'Strip' && fused && step.content === ' ' && !step.stop) leadingSpaces = step.start ?? 0;
    else if (step.type === 'Replace' && !fused) textSteps.push(replaceStep(step));
    else if (step.type === 'Metaspace' && !fused) textSteps.push(metaspaceStep(step));
    else throw unsupported(step.type);
  }
  return {
    leadingSpaces,
    bytes({ text }, first) {
      const byte = bytesFallBack ? byteToken.exec(text)?.[1] : undefined;
      if (byte !== undefined) return Uint8Array.of(Number.parseInt(byte, 16));
      return encoder.encode(textSteps.reduce((piece, step) => step(piece, first), text));
    },
  };
}

function replaceStep({ pattern, content = '' }: DecoderJson): TextStep {
  if (typeof pattern?.String !== 'string') throw unsupported('Replace by a regular expression');
  const sought = pattern.String;
  return (text) => text.replaceAll(sought, () => content);
}

function metaspaceStep({ replacement = '▁', prepend_scheme, add_prefix_space }: DecoderJson): TextStep {
  const prefixed = prepend_scheme === undefined ? add_prefix_space !== false : prepend_scheme !== 'never';
  return (text, first) => text.replaceAll(replacement, first && prefixed ? '' : ' ');
}

const plainDecoding: TokenDecoding = {
  leadingSpaces: 0,
  bytes: ({ text }, first) => encoder.encode(first ? text : ` ${text}`),
};

/**
 * The letters by which byte-level vocabularies write bytes: printable Latin-1 stands for itself, the other bytes, in order, for the
 * letters from U+0100 on.
 */
const byteOfLetter: ReadonlyMap<string, number> = new Map(
  (() => {
    const pairs: [string, number][] = [];
    let next = 0x100;
    for (let byte = 0; byte < 256; byte++) {
      const printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
      pairs.push([String.fromCodePoint(printable ? byte : next++), byte]);
    }
    return pairs;
  })(),
);

const byteLevelDecoding: TokenDecoding = {
  leadingSpaces: 0,
  byteLetters: byteOfLetter,
  bytes({ text, added }) {
    if (added) return encoder.encode(text);
    const bytes: number[] = [];
    for (const letter of text) {
      const byte = byteOfLetter.get(letter);
      if (byte === undefined) return encoder.encode(text);
      bytes.push(byte);
    }
    return Uint8Array.from(bytes);
  },
};

function flattened(decoder: DecoderJson | null | undefined): DecoderJson[] {
  if (!decoder) return [];
  if (decoder.type === 'Sequence') return (decoder.decoders ?? []).flatMap(flattened);
  return [decoder];
}

function unsupported(type: string | undefined): TokenizerError {
  return new TokenizerError(
    `tokenizer.json has the decoder "${type}", which does not work token by token. Byte-level, byte-fallback and metaspace decoders do.`,
  );
}
