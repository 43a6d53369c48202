/** How a kernel reads heads of a cache: `width` consecutive elements at a time. */
export interface ElementAccess {
  /** Elements of a read. */
  readonly width: 1 | 2 | 4;
  /** Element type of the binding. */
  readonly binding: string;
  /** WGSL type of what was read. */
  readonly type: string;
  /** WGSL expression that reads entry `index` of `name`. */
  readonly load: (name: string, index: string) => string;
  /** WGSL expression of the sum of a vector's components, in one order. */
  readonly sum: (value: string) => string;
  /** WGSL expression of component `i`. */
  readonly component: (value: string, i: number) => string;
}

const vector = (width: 1 | 2 | 4) => (width === 1 ? 'f32' : `vec${width}<f32>`);

const sums: Record<1 | 2 | 4, (value: string) => string> = {
  1: (value) => value,
  2: (value) => `(${value}.x + ${value}.y)`,
  4: (value) => `((${value}.x + ${value}.y) + (${value}.z + ${value}.w))`,
};

const packedLoads: Record<2 | 4, (name: string, index: string) => string> = {
  2: (name, index) => `unpack2x16float(${name}[${index}])`,
  4: (name, index) => `vec4<f32>(unpack2x16float(${name}[${index}].x), unpack2x16float(${name}[${index}].y))`,
};

/** Access to heads of `dim` elements, at least `least` and at most 4 at a time. */
export function elementAccess(dim: number, { packed, least = 4 }: { packed: boolean; least?: number }): ElementAccess {
  const fitting = ([1, 2, 4] as const).filter((width) => dim % width === 0 && (!packed || width > 1));
  const width = fitting.find((candidate) => candidate >= least) ?? fitting.at(-1)!;
  const shape = {
    width,
    type: vector(width),
    sum: sums[width],
    component: (value: string, i: number) => (width === 1 ? value : `${value}.${'xyzw'[i]}`),
  };
  if (!packed) return { ...shape, binding: vector(width), load: (name, index) => `${name}[${index}]` };
  const wide = width === 1 ? 2 : width;
  return { ...shape, binding: wide === 2 ? 'u32' : 'vec2<u32>', load: packedLoads[wide] };
}
