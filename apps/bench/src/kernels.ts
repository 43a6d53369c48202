/**
 * Times every cut of every matrix kernel at the shapes of Qwen3-0.6B and Llama-3.1-8B, and every dispatch of a few of their layers:
 * `node --conditions @forerun/source apps/bench/src/kernels.ts [--models qwen3-0.6b,llama-3.1-8b] [--formats q4] [--rows 1,2,4,8,16,32]
 * [--arithmetics f32,f16,i8] [--contexts 512,4096] [--layers 4] [--parts matrices,layers] [--matrices qkv,output,gate-up,down,head] [--wide]
 * [--experimental subgroup-matrix]`. Up to 64 rows matrices read and write prepared rows as in a model; `--wide` times many more cuts than the
 * table has. Prints one
 * JSON object a line. Cuts are held to float64 and to the bits of their family first; a row of a layer at every width up to 64 to its bits
 * alone. Above 64 rows they are tiles of prefill, those of matrix units too where `--experimental` names them. On a machine without a
 * registry it is `node OUT.mjs kernels` of the bundle.
 */
import { declaredCheckpoint, type WeightPolicy } from '@forerun/checkpoints';
import { loadModel } from '@forerun/models';
import {
  type Arithmetic,
  Commands,
  compile,
  deviceChoices,
  type Device,
  type ExperimentalFeature,
  explain,
  fillRandom,
  MissingFeatureError,
  measureBandwidth,
  profile,
  requestDevice,
  StateBuffers,
  steadyClock,
  WeightStore,
} from '@forerun/tensor';
import { type SweptMatrix, sweepLinear } from '@forerun/tensor/harness';
import { median, presets } from 'forerun/bench';
import { chunkInputs, traceChunk } from 'forerun/check';
import { parseArgs } from 'node:util';

const { values: flags } = parseArgs({
  options: {
    models: { type: 'string', default: 'qwen3-0.6b,llama-3.1-8b' },
    formats: { type: 'string', default: 'q4' },
    arithmetics: { type: 'string', default: 'f32,f16,i8' },
    rows: { type: 'string', default: '1,2,4,8,16,32' },
    contexts: { type: 'string', default: '512,4096' },
    layers: { type: 'string', default: '4' },
    parts: { type: 'string', default: 'matrices,layers' },
    matrices: { type: 'string', default: 'qkv,output,gate-up,down,head' },
    wide: { type: 'boolean', default: false },
    experimental: { type: 'string', default: '' },
  },
});
const list = (text: string) => text.split(',').filter(Boolean);
const print = (record: object) => void process.stdout.write(`${JSON.stringify(record)}\n`);

type Config = Readonly<Record<string, unknown>>;

/** For trying the script where nothing large runs. */
const tiny: Config = {
  ...presets['llama-3.1-8b'],
  hidden_size: 128,
  intermediate_size: 256,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  vocab_size: 256,
};

interface Case {
  readonly model: string;
  readonly config: Config;
  readonly format: WeightPolicy & SweptMatrix['format'];
  readonly arithmetic: Arithmetic;
  readonly rows: number;
}

/** The matrices of a decoder layer, and the head, by name. */
function matricesOf({ config, format, arithmetic, rows }: Case): Readonly<Record<string, SweptMatrix>> {
  const of = (name: string) => config[name] as number;
  const [hidden, mlp, heads] = [of('hidden_size'), of('intermediate_size'), of('num_attention_heads')];
  const headDim = (config.head_dim as number | undefined) ?? hidden / heads;
  const both = { format, arithmetic, rows, ready: true, wide: flags.wide };
  const residual = { residual: true, writes: { norm: true, plain: true } };
  const query = heads * headDim;
  const outputs = query + 2 * of('num_key_value_heads') * headDim;
  return {
    qkv: { ...both, outputs, width: hidden, normed: true },
    output: { ...both, outputs: hidden, width: query, ...residual },
    'gate-up': {
      ...both,
      outputs: mlp,
      width: hidden,
      normed: true,
      gated: true,
      writes: { norm: false, plain: false },
    },
    down: { ...both, outputs: hidden, width: mlp, ...residual },
    head: { ...both, outputs: of('vocab_size'), width: hidden, normed: true },
  };
}

async function sweepMatrices(device: Device, one: Case): Promise<void> {
  for (const [matrix, swept] of Object.entries(matricesOf(one))) {
    if (!list(flags.matrices).includes(matrix)) continue;
    const cuts = [...(await sweepLinear(device, swept))].sort((a, b) => a.microseconds - b.microseconds);
    const { model, format, arithmetic, rows } = one;
    const { outputs, width } = swept;
    print({ matrix, model, format, arithmetic, rows, outputs, width, best: cuts[0], cuts });
  }
}

/** Rows up to which a row's bits do not depend on how many there are. */
const decodeRows = 64;

/** Bits of the first row's logits, kept to compare those of other widths with: by everything but the width. */
const alone = new Map<string, Uint32Array>();

/** Profiles the dispatches of a few layers at a context length, through the choice table. */
async function profileLayers(device: Device, one: Case, context: number): Promise<void> {
  const { model, config, format, arithmetic, rows } = one;
  const layers = Number(flags.layers);
  const loaded = await loadModel(declaredCheckpoint({ ...config, num_hidden_layers: layers }, { weights: format }));
  const { decoder } = loaded;
  const state = decoder.state(context + 64, { rollbackTokens: 0, name: 'kernels' });
  const weights = new WeightStore(device);
  const choices = await deviceChoices(device);
  const options = { device, name: `${model} of ${layers} layers`, weights, arithmetic, choices };
  const program = await compile(traceChunk(decoder, state, rows), options);
  weights.allocate();
  await fillRandom(weights, { seed: 1 });
  const states = new StateBuffers(device, state.states);
  try {
    const tokens = Uint32Array.from({ length: rows }, (_, i) => (i * 131 + 7) % decoder.vocabSize);
    const inputs = chunkInputs(tokens, rows, { start: context, span: context + rows });
    for (const [name, values] of Object.entries(inputs)) program.write(name, values);
    const run = { states, bound: context + rows };
    const read = async () => {
      const commands = new Commands(device).run(program, run);
      const logits = commands.read(program, 'logits');
      commands.submit();
      return new Uint32Array((await logits).buffer).slice(0, decoder.vocabSize);
    };
    const bits = await read();
    const key = [model, format, arithmetic, context].join();
    const comparable = rows <= decodeRows;
    if (comparable && !alone.has(key)) alone.set(key, bits);
    const differing = !comparable ? 0 : bits.reduce((sum, word, i) => sum + Number(word !== alone.get(key)![i]), 0);
    const finite = new Float32Array(bits.buffer).every(Number.isFinite);
    if (!finite || differing > 0) {
      throw new Error(
        `${key}, ${rows} rows: ${differing} of ${bits.length} logits differ from those of the row alone, finite: ${finite}.`,
      );
    }
    await steadyClock(device);
    const times: number[] = [];
    for (let trial = 0; trial < 12; trial++) {
      const commands = new Commands(device, { timed: true }).run(program, run);
      const time = commands.gpuMs();
      commands.submit();
      times.push(await time);
    }
    const explanation = explain(program, { bound: run.bound, profile: await profile(program, { ...run, repeats: 9 }) });
    const dispatches = explanation.dispatches.map(({ label, choice, microseconds, bytes, flops }) => ({
      label,
      choice,
      microseconds,
      bytes,
      flops,
    }));
    print({
      layers,
      model,
      format,
      arithmetic,
      rows,
      context,
      gpuMs: median(times.slice(2)),
      count: dispatches.length,
      dispatches,
    });
  } finally {
    program.destroy();
    states.destroy();
    weights.destroy();
  }
}

const device = await requestDevice({ experimental: list(flags.experimental) as ExperimentalFeature[] });
print({ adapter: device.adapter, matrices: device.matrices, ...(await measureBandwidth(device)) });
for (const model of list(flags.models)) {
  const config = model === 'tiny' ? tiny : presets[model];
  if (!config) throw new Error(`There is no model "${model}"; take tiny, ${Object.keys(presets).join(', ')}.`);
  for (const format of list(flags.formats) as Case['format'][]) {
    for (const arithmetic of list(flags.arithmetics) as Arithmetic[]) {
      try {
        for (const rows of list(flags.rows).map(Number)) {
          const one: Case = { model, config, format, arithmetic, rows };
          if (flags.parts.includes('matrices')) await sweepMatrices(device, one);
          for (const context of flags.parts.includes('layers') ? list(flags.contexts) : []) {
            await profileLayers(device, one, Number(context));
          }
        }
      } catch (error) {
        if (!(error instanceof MissingFeatureError)) throw error;
        print({ model, arithmetic, notRun: error.message });
      }
    }
  }
}
process.exit(0);
