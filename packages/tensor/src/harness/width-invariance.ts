import type { Device } from '../device/device.ts';
import { elementCount } from '../graph/dtype.ts';
import type { HostArray } from '../run/state-buffers.ts';
import type { Held, HeldInput } from './hold.ts';
import { hold, MismatchError } from './hold.ts';
import { randomSource } from './random.ts';

/** Numbers of rows at which a row's bits must be those of the row alone. */
export const invariantWidths = [2, 3, 7, 8, 16, 33, 64] as const;

/** A body whose inputs and outputs all have rows `[M, ...]`; the harness chooses M. */
export interface HeldRows<Names extends string> extends Omit<Held<Names>, 'inputs'> {
  /** Shape of one row of each input, and its values for all 64 rows where they are not to be drawn. */
  readonly rows: Readonly<Record<Names, HeldInput>>;
}

function words(array: HostArray): Uint32Array {
  return new Uint32Array(array.buffer, array.byteOffset, array.length);
}

/**
 * Runs `body` on a single row and on it among others, at every width and in three places (first, middle, last), and compares the
 * bits of all outputs. Each run is also held to the references.
 * @throws {@link MismatchError} naming the output, the width and the place.
 */
export async function holdRowsInvariant<Names extends string>(device: Device, held: HeldRows<Names>): Promise<void> {
  const random = randomSource(held.seed ?? 1);
  const most = Math.max(...invariantWidths);
  const names = Object.keys(held.rows) as Names[];
  const tables = names.map((name) => {
    const { shape, dtype = 'f32', data } = held.rows[name];
    const row = elementCount(shape);
    const values = data ? Array.from(data) : Array.from({ length: most * row }, () => random.normal());
    return { name, shape, dtype, row, values };
  });
  const run = (rows: readonly number[]) => {
    const inputs = {} as Record<Names, HeldInput>;
    for (const { name, shape, dtype, row, values } of tables) {
      const data = rows.flatMap((index) => values.slice(index * row, (index + 1) * row));
      inputs[name] = { shape: [rows.length, ...shape], dtype, data };
    }
    return hold(device, { ...held, inputs });
  };
  const alone = await run([0]);
  for (const width of invariantWidths) {
    for (const place of new Set([0, width >> 1, width - 1])) {
      const others = Array.from({ length: width }, (_, index) =>
        index === place ? 0 : index < place ? index + 1 : index,
      );
      const among = await run(others);
      for (const [name, expected] of Object.entries(alone.outputs)) {
        const row = words(expected);
        const got = words(among.outputs[name]!).subarray(place * row.length, (place + 1) * row.length);
        const off = row.findIndex((word, index) => word !== got[index]);
        if (off >= 0) {
          throw new MismatchError(
            `${name}: row ${place} of ${width} differs from the same row alone at element ${off}: ${got[off]!.toString(16)} instead of ${row[off]!.toString(16)}.`,
          );
        }
      }
    }
  }
}
