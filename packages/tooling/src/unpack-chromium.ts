/** Unpacks what npm's @sparticuz/chromium brings. It needs nothing but Node, so that it can be bundled for a machine that has nothing else. */
import { createWriteStream, writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createBrotliDecompress } from 'node:zlib';
import { extract } from 'tar-fs';

/** Starts the browser that lies beside it. */
export const startScript = 'start';

const fontConfiguration = 'fonts-here.conf';

/** The configuration that came with the fonts names folders of another machine; without a font, a text field ends the browser. */
function fontConfigurationOf(home: string): string {
  return `<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>${join(home, 'fonts')}</dir><cachedir>${join(tmpdir(), 'forerun-fonts-cache')}</cachedir></fontconfig>
`;
}

/** The libraries that came with the browser are found first; those of the caller, such as a Vulkan driver's, after them. */
const start = `#!/bin/sh
here=$(cd "$(dirname "$0")" && pwd)
export FONTCONFIG_FILE="$here/${fontConfiguration}" LD_LIBRARY_PATH="$here/lib:$here\${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
exec "$here/chromium" "$@"
`;

/**
 * Unpacks every archive (`*.tar.br`) and every executable (`*.br`) into one folder, and puts a {@link startScript} there.
 *
 * @param archives - Files of the package's `bin` by name, and what opens each.
 * @param folder - Where to; made if it is not there.
 * @param home - Where the folder will lie when the browser starts, if it is renamed before.
 */
export async function unpackChromium(
  archives: ReadonlyMap<string, () => Readable>,
  folder: string,
  home: string = folder,
): Promise<void> {
  await mkdir(folder, { recursive: true });
  await Promise.all(
    [...archives].map(([name, open]) =>
      pipeline(
        open(),
        createBrotliDecompress(),
        name.endsWith('.tar.br')
          ? extract(folder)
          : createWriteStream(join(folder, basename(name, '.br')), { mode: 0o755 }),
      ),
    ),
  );
  writeFileSync(join(folder, fontConfiguration), fontConfigurationOf(home));
  writeFileSync(join(folder, startScript), start, { mode: 0o755 });
}
