/** Which kernel a matrix takes, with its cut: by the table of kinds of devices, or by measurement. */
import type { LoweringContext } from '../../compile/lowering.ts';
import type { AnyKernel, Kernel } from '../../kernel/define-kernel.ts';
import type { LinearChoice } from './linear-choice.ts';
import { cutText } from './linear-choice.ts';
import type { CutKernel, PreparedFor } from './linear-question.ts';
import { choiceText, familyQuestion, linearQuestion, preparedFor, questionKey } from './linear-question.ts';
import type { LinearSlots } from './linear-slots.ts';
import { preparedSlots } from './linear-slots.ts';
import { matmulBlocksKernel } from './matmul-blocks.wgsl.ts';
import { matmulMatrixKernel, matrixWorkgroups } from './matmul-matrix.wgsl.ts';
import { matmulKernel, matmulWorkgroups } from './matmul.wgsl.ts';
import { matvecBlocksKernel } from './matvec-blocks.wgsl.ts';
import { matvecF16Kernel, matvecF16SubgroupKernel } from './matvec-f16.wgsl.ts';
import { matvecSubgroupKernel } from './matvec-subgroup.wgsl.ts';
import type { MatvecCut } from './matvec.wgsl.ts';
import { matvecKernel, matvecWorkgroups } from './matvec.wgsl.ts';
import type { TileCut } from './tile-cut.ts';
import { tileText } from './tile-cut.ts';

/** A kernel of a linear operation, whichever it is. */
type LinearKernel = Kernel<object, string, 'rows'>;

/** A kernel with its constants and grid, and what it reads for `x`. */
export interface ChosenLinear {
  readonly kernel: LinearKernel;
  readonly slots: LinearSlots;
  readonly cut: object;
  readonly workgroups: number;
  /** `x` as it is, normalised by a kernel of its own, or as prepared rows. */
  readonly reads: 'plain' | 'normed' | PreparedFor;
  /** For `explain`. */
  readonly text: string;
}

function matvecKernelOf(slots: LinearSlots, cut: MatvecCut) {
  if (cut.blocks) return matvecBlocksKernel(slots, cut);
  const kernels =
    cut.arithmetic === 'f16'
      ? { subgroups: matvecF16SubgroupKernel, portable: matvecF16Kernel }
      : { subgroups: matvecSubgroupKernel, portable: matvecKernel };
  return kernels[cut.subgroups ? 'subgroups' : 'portable'](slots, cut);
}

/** The decode kernel of a cut; where it has its rows prepared, so are the slots. */
export function matvecOf(slots: LinearSlots, cut: MatvecCut): CutKernel {
  const own = preparedFor(cut) ? preparedSlots(slots) : slots;
  const kernel = matvecKernelOf(own, cut) as unknown as AnyKernel;
  return { kernel, slots: own, workgroups: matvecWorkgroups(own, cut) };
}

/** The prefill kernel of a cut. */
export function matmulOf(slots: LinearSlots, cut: TileCut): CutKernel {
  if ('matrix' in cut) {
    const kernel = matmulMatrixKernel(slots, cut) as unknown as AnyKernel;
    return { kernel, slots, workgroups: matrixWorkgroups(slots, cut) };
  }
  const kernel = preparedFor(cut) ? matmulBlocksKernel(slots, cut) : matmulKernel(slots);
  return { kernel: kernel as unknown as AnyKernel, slots, workgroups: matmulWorkgroups(slots, cut) };
}

/**
 * Cuts of the decode kernel that are open to a matrix, of the order of sums that it takes at every number of rows; the default first. `ready`:
 * what makes `x` writes its rows prepared.
 */
export function matvecCuts(
  { arithmetic, choices }: Pick<LoweringContext, 'arithmetic' | 'choices'>,
  choice: LinearChoice,
  { slots, ready }: { readonly slots: LinearSlots; readonly ready: boolean },
): readonly MatvecCut[] {
  if (!choice.families || !choices) return [choice.matvec(slots, ready)];
  // What is done with the product has no say in the order of its sums.
  const { written: _, ...product } = slots;
  const families = choice.families(product);
  if (families.length === 1) return families[0]!.cuts(slots, { ready });
  return choices
    .pick(familyQuestion({ arithmetic, families, slots: product, kernel: matvecOf }))
    .cuts(slots, { ready });
}

/** Chooses the kernel for these slots. `ready`: what makes `x` has written it as prepared rows, and perhaps not otherwise. */
export function chooseLinear(
  context: Pick<LoweringContext, 'arithmetic' | 'choices'>,
  choice: LinearChoice,
  slots: LinearSlots,
  ready: boolean,
): ChosenLinear {
  const { arithmetic, choices } = context;
  const pick = <Cut extends object>(
    own: LinearSlots,
    options: {
      readonly kind: string;
      readonly candidates: readonly Cut[];
      readonly name: (cut: Cut) => string;
      readonly kernel: (slots: LinearSlots, cut: Cut) => CutKernel;
    },
  ): Omit<ChosenLinear, 'reads'> => {
    const { kind, candidates, name, kernel } = options;
    const key = questionKey(kind, own, arithmetic);
    const cut = choices?.pick(linearQuestion({ key, candidates, name, slots: own, kernel, ready })) ?? candidates[0]!;
    const made = kernel(own, cut);
    return { ...made, kernel: made.kernel as LinearKernel, cut, text: choiceText(choices, key, name(cut)) };
  };
  const matvec = (own: LinearSlots, candidates: readonly MatvecCut[]) =>
    pick(own, { kind: ready ? 'matvec ready' : 'matvec', candidates, name: cutText, kernel: matvecOf });
  const tiles = slots.norm ? undefined : choice.matmul(slots);
  if (tiles) {
    const candidates = (choices && choice.matmuls?.(slots)) || [tiles];
    // Answers are kept: those of a device with matrices and without are two.
    const kind = candidates.some((cut) => 'matrix' in cut) ? 'matmul with matrices' : 'matmul';
    const made = pick(slots, { kind, candidates, name: tileText, kernel: matmulOf });
    return { ...made, reads: preparedFor(made.cut) ?? 'plain' };
  }
  const cuts = matvecCuts(context, choice, { slots, ready });
  if (ready) {
    const made = matvec(slots, cuts.filter(preparedFor));
    return { ...made, reads: preparedFor(made.cut)! };
  }
  if (!cuts[0]!.blocks && slots.norm && choice.preparesNorm(slots.rows)) {
    return { ...matvec(preparedSlots(slots), cuts), reads: 'normed' };
  }
  const made = matvec(slots, cuts);
  return { ...made, reads: preparedFor(made.cut) ?? 'plain' };
}
