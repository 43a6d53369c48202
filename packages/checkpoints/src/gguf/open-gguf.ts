import { Checkpoint, type CheckpointTensor } from '../checkpoint/checkpoint.ts';
import { GgufError } from '../errors.ts';
import type { ByteSource, ReadOptions } from '../sources/byte-source.ts';
import { withFiles } from '../sources/with-files.ts';
import type { WeightPolicy } from '../weights/weights.ts';
import { architectureOf, configOf, generationConfigOf, headWidth, type TensorFacts } from './config.ts';
import { type GgufTensor, readGguf } from './header.ts';
import { Metadata } from './metadata.ts';
import { checkpointName, hasTurnedRows, ropeFactorNames } from './names.ts';
import { hasTokenizer, tokenizerConfigOf, tokenizerOf } from './tokenizer.ts';

/** Widest head whose rotary factors are read. */
const maxRopeFactors = 1 << 14;

/**
 * Opens a GGUF file as a checkpoint: its tensors under the names of transformers, and its metadata as the files config.json,
 * generation_config.json, tokenizer.json and tokenizer_config.json, which are made when they are asked for.
 *
 * @throws GgufError when the file is damaged or hostile, or its architecture or vocabulary is not supported; AbortedError; the
 *   source's errors.
 */
export async function openGguf(
  source: ByteSource,
  file: string,
  options: ReadOptions & { readonly policy: WeightPolicy },
): Promise<Checkpoint> {
  const { signal } = options;
  const version = await source.version(file, { signal });
  const header = await readGguf(source, file, { signal });
  const where = `${source.describe()}/${file}`;
  const metadata = new Metadata(header.metadata, where);
  const shards = metadata.integer('split.count') ?? 1;
  if (shards > 1) {
    throw new GgufError(`${where}: it is one of ${shards} parts of a model; put them together with gguf-split first.`);
  }
  const architecture = architectureOf(metadata);
  const byName = new Map(header.tensors.map((tensor) => [tensor.name, tensor]));
  const facts = await factsOf(source, file, byName, { metadata, signal });
  const config = configOf(metadata, facts);
  const factorNames = new Set<string>(Object.values(ropeFactorNames));
  const headRows = headWidth(metadata, architecture);
  const tensors = new Map<string, CheckpointTensor>();
  for (const { name, type, shape, begin, end } of header.tensors) {
    if (factorNames.has(name)) continue;
    const turned = hasTurnedRows(architecture, name) ? { headRows } : {};
    if (turned.headRows && shape[0]! % headRows !== 0) {
      throw new GgufError(`${where}: ${name} has ${shape[0]} rows, which are no whole heads of ${headRows}.`);
    }
    const called = checkpointName(name);
    tensors.set(called, { name: called, dtype: type, shape, file, begin, end, ...turned });
  }
  const json = (make: () => object) => () => new TextEncoder().encode(JSON.stringify(make()));
  const files = new Map([
    ['config.json', json(() => config)],
    ['generation_config.json', json(() => generationConfigOf(metadata))],
    ...(hasTokenizer(metadata)
      ? ([
          ['tokenizer.json', json(() => tokenizerOf(metadata))],
          ['tokenizer_config.json', json(() => tokenizerConfigOf(metadata))],
        ] as const)
      : []),
  ]);
  const texts = [...header.metadata].flatMap(([key, value]) =>
    typeof value === 'string' ? [[key, value] as const] : [],
  );
  return new Checkpoint({
    source: withFiles(source, files),
    tensors,
    files: [file],
    metadata: new Map(texts),
    policy: options.policy,
    versions: new Map(version === undefined ? [] : [[file, version]]),
  });
}

async function factsOf(
  source: ByteSource,
  file: string,
  byName: ReadonlyMap<string, GgufTensor>,
  { metadata, signal }: { metadata: Metadata; signal: AbortSignal | undefined },
): Promise<TensorFacts> {
  const embedding = byName.get('token_embd.weight');
  if (embedding?.shape.length !== 2) {
    throw new GgufError(`${metadata.where}: there is no matrix token_embd.weight, so this is no language model.`);
  }
  const [vocabSize] = embedding.shape as readonly [number, number];
  const tokens = metadata.strings('tokenizer.ggml.tokens')?.length ?? 0;
  if (tokens > vocabSize) {
    throw new GgufError(`${metadata.where}: there are ${tokens} tokens, but only ${vocabSize} have an embedding.`);
  }
  const ropeFactors: { -readonly [Which in keyof typeof ropeFactorNames]?: number[] } = {};
  for (const [which, name] of Object.entries(ropeFactorNames)) {
    const tensor = byName.get(name);
    if (!tensor) continue;
    if (tensor.type !== 'F32' || tensor.shape.length !== 1 || tensor.shape[0]! > maxRopeFactors) {
      throw new GgufError(
        `${metadata.where}: ${name} is ${tensor.type} [${tensor.shape.join(', ')}], expected a list of F32.`,
      );
    }
    const bytes = await source.read(file, tensor.begin, tensor.end, { signal });
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    ropeFactors[which as keyof typeof ropeFactorNames] = Array.from({ length: bytes.length / 4 }, (_, i) =>
      view.getFloat32(i * 4, true),
    );
  }
  return { vocabSize, has: (name) => byName.has(name), ropeFactors };
}
