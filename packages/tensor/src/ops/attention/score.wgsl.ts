import { floatWgsl } from '../rope/rope.wgsl.ts';

/** What happens to a dot product before the softmax. */
export interface ScoreOptions {
  readonly scale: number;
  /** Scores become `softcap * tanh(score / softcap)`. */
  readonly softcap?: number;
}

const capped = (scale: number, softcap: number) =>
  `${floatWgsl(softcap)} * tanh(clamp(product * ${floatWgsl(scale)} / ${floatWgsl(softcap)}, -15.0, 15.0))`;

/** WGSL `score(product) -> f32`. */
export const scoreWgsl = ({ scale, softcap }: ScoreOptions): string =>
  `fn score(product: f32) -> f32 { return ${softcap === undefined ? `product * ${floatWgsl(scale)}` : capped(scale, softcap)}; }`;
