/** Ways to ask headless Chromium for an adapter, the likeliest first; why each did not work is part of the result. */

/** One way. */
export interface FlagSet {
  readonly name: string;
  readonly flags: readonly string[];
  /** Which adapter it asks for. */
  readonly kind: 'hardware' | 'software';
}

const set = (name: string, kind: FlagSet['kind'], ...flags: string[]): FlagSet => ({ name, kind, flags });
const anyCard = ['--ignore-gpu-blocklist', '--use-webgpu-adapter=default', '--enable-gpu'];

/**
 * Without any of these flags a headless shell draws with SwiftShader, and its pages get that for WebGPU too. Vulkan has no surface to
 * present on here, hence `--disable-vulkan-surface`. Dawn needs the Vulkan driver alone; drawing may go another way, so that a driver which
 * ANGLE refuses is still reached.
 */
export const flagSets: readonly FlagSet[] = [
  set(
    'angle-vulkan',
    'hardware',
    ...anyCard,
    '--use-angle=vulkan',
    '--enable-features=Vulkan,VulkanFromANGLE,DefaultANGLEVulkan',
    '--disable-vulkan-surface',
  ),
  set(
    'angle-vulkan-alone',
    'hardware',
    ...anyCard,
    '--use-angle=vulkan',
    '--enable-features=Vulkan',
    '--use-vulkan=native',
    '--disable-vulkan-surface',
  ),
  set(
    'angle-swiftshader',
    'hardware',
    ...anyCard,
    '--use-gl=angle',
    '--use-angle=swiftshader',
    '--enable-unsafe-swiftshader',
    '--enable-features=Vulkan',
    '--use-vulkan=native',
    '--disable-vulkan-surface',
  ),
  set('angle-egl', 'hardware', ...anyCard, '--use-gl=angle', '--use-angle=gl-egl'),
  set(
    'one-process',
    'hardware',
    ...anyCard,
    '--use-angle=vulkan',
    '--enable-features=Vulkan',
    '--disable-vulkan-surface',
    '--in-process-gpu',
    '--no-zygote',
  ),
  set('default', 'hardware', ...anyCard),
  set('software', 'software', '--use-webgpu-adapter=swiftshader', '--enable-features=Vulkan'),
];

/** A name that no set has. */
export class UnknownFlagSetError extends Error {
  constructor(name: string) {
    super(`There are no flags "${name}"; expected some of ${flagSets.map((one) => one.name).join(', ')}.`);
    this.name = 'UnknownFlagSetError';
  }
}

/**
 * The sets to try: those named, else all for that kind of adapter. Where hardware is asked for the software one comes last, to tell a browser
 * that does not start from one that does not reach the card.
 *
 * @throws {@link UnknownFlagSetError}.
 */
export function chosenSets(names: readonly string[], kind: FlagSet['kind']): readonly FlagSet[] {
  if (names.length === 0) return kind === 'hardware' ? flagSets : flagSets.filter((one) => one.kind === kind);
  return names.map((name) => {
    const found = flagSets.find((one) => one.name === name);
    if (!found) throw new UnknownFlagSetError(name);
    return found;
  });
}

/**
 * The environment that a set's browser starts in: as here, with the Vulkan loader saying on stderr what it could not use. Chromium's own
 * SwiftShader is found without this process's choice of a driver.
 */
export function environmentOf(one: FlagSet, environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const { VK_ICD_FILENAMES, VK_DRIVER_FILES, ...others } = environment;
  const drivers = { ...(VK_ICD_FILENAMES && { VK_ICD_FILENAMES }), ...(VK_DRIVER_FILES && { VK_DRIVER_FILES }) };
  return one.kind === 'software' ? others : { ...others, ...drivers, VK_LOADER_DEBUG: 'error,warn' };
}
