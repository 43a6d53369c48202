/** Which kernels the sources declare, and which of them a run of tests never compiled. */
import type { SourceFile, WorkspacePackage } from './workspace.ts';

/** A `defineKernel` in a source file. */
export interface DeclaredKernel {
  /** As written: a name with parts in `${…}` stands for several kernels. */
  readonly name: string;
  readonly file: string;
  /** Optional device features that it needs; portable kernels need none. */
  readonly features: readonly string[];
}

const declaration = /\bdefineKernel\s*(?:<[^(]*>)?\(\s*\{/g;

/**
 * Every kernel declared in a package's sources, tests aside.
 *
 * @throws {@link Error} if a declaration does not begin with a literal name, since such a kernel could not be followed.
 */
export function declaredKernels(workspace: readonly WorkspacePackage[]): DeclaredKernel[] {
  return workspace
    .filter(({ folder }) => folder !== 'packages/tooling')
    .flatMap(({ files }) => files)
    .filter(({ path }) => path.includes('/src/') && !path.endsWith('.test.ts'))
    .flatMap(kernelsOf);
}

function kernelsOf({ path, text }: SourceFile): DeclaredKernel[] {
  const starts = [...text.matchAll(declaration)].map(({ index }) => index);
  return starts.map((start, i) => {
    const block = text.slice(start, starts[i + 1] ?? text.length);
    const name = /^[^{]*\{\s*name:\s*(['`])(.*?)\1/.exec(block)?.[2];
    if (name === undefined) {
      throw new Error(`${path}: a kernel's first property must be its name, written as a literal or a template.`);
    }
    const features = /\bfeatures:\s*\[([^\]]*)\]/.exec(block.slice(0, block.search(/\bwgsl:/)))?.[1] ?? '';
    return { name, file: path, features: [...features.matchAll(/'([^']+)'/g)].map(([, feature]) => feature!) };
  });
}

/** The declared kernels of which none of `compiled`, names of kernels as they ran, is an instance. */
export function kernelsNotCompiled(
  declared: readonly DeclaredKernel[],
  compiled: ReadonlySet<string>,
): DeclaredKernel[] {
  const names = [...compiled];
  return declared.filter(({ name }) => {
    const parts = name.split(/\$\{[^}]*\}/).map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
    const pattern = new RegExp(`^${parts.join('.*')}$`);
    return !names.some((instance) => pattern.test(instance));
  });
}
